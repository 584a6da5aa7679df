"""Between the levels of PixelCNN++: strided and transposed convolutions that keep causality.

Position (i, j) of a coarser level summarises what lies up to position (2i, 2j) of the finer one;
on the way back it serves the 2×2 block that begins there. On a walk the coarser level therefore
sleeps at three positions out of four: going down gives None there, and going up serves the value
still pending.

Source: Salimans et al. (2017), PixelCNN++, §2.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers.causal import AbstractConv2d, PixelInputs, RowInputs
from pixelcnn_lit.layers.raster_cache import RasterCache


class Downsample(AbstractConv2d):
    """Causal convolution with stride 2, from a level to the next coarser one."""

    def __init__(self, in_channels: int, out_channels: int, rows: range, columns: range) -> None:
        super().__init__(in_channels, out_channels, rows, columns, stride=2)

    def forward(self, x: Tensor, cache: RasterCache | None = None) -> Tensor | None:
        """(B, in, H, W) to (B, out, H/2, W/2) for even H and W.

        On a walk of the finer level (N, in) to (N, out), or None where the coarser level sleeps.
        """
        if cache is None:
            return self.whole(x)
        if cache.column is None:
            row = cache.keep(self, lambda: RowInputs(self, cache))
            if not cache.wakes_coarser:
                return row.push(x)
            return row.step(x).unflatten(0, (cache.batch, -1))[:, ::2].flatten(0, 1)
        pixel = cache.keep(self, lambda: PixelInputs(self, cache))
        if not cache.wakes_coarser:
            return pixel.push(x, cache.column)
        return pixel.step(x, cache.column)


class Upsample(nn.Module):
    """Transposed convolution with stride 2: value (i, j) goes to rows 2i and 2i+1.

    ``columns`` are the offsets from column 2j it is spread over: ``range(0, 2)`` is causal,
    ``range(-1, 2)`` belongs to a vertical stack.
    """

    init_deviation: float = 1.0

    def __init__(self, in_channels: int, out_channels: int, columns: range) -> None:
        super().__init__()
        self.columns = columns
        bound = 1 / math.sqrt(in_channels)
        shape = (in_channels, out_channels, 2, len(columns))
        weight = nn.init.uniform_(torch.empty(shape), -bound, bound)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(nn.init.uniform_(torch.empty(out_channels), -bound, bound))

    def whole(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, 2H, 2W)."""
        padding = -self.columns.start
        output_padding = 2 + 2 * padding - len(self.columns)
        return F.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            stride=2,
            padding=(0, padding),
            output_padding=(0, output_padding),
        )

    def forward(self, x: Tensor | None, cache: RasterCache | None = None) -> Tensor:
        """(B, in, H, W) to (B, out, 2H, 2W).

        On a walk of the finer level (N, in), or None where the coarser level sleeps, to (N, out).
        """
        if cache is None:
            assert x is not None
            return self.whole(x)
        if cache.column is None:
            return cache.keep(self, lambda: _PendingRows(self, cache)).step(x)
        return cache.keep(self, lambda: _PendingPixels(self, cache)).step(x, cache.column)


class _PendingRows:
    """The two rows a row of the coarser level serves."""

    def __init__(self, layer: Upsample, cache: RasterCache) -> None:
        self.layer = layer
        self.cache = cache
        num_positions, out_channels = cache.batch * cache.width, len(layer.bias)
        self.rows = layer.bias.new_empty(2, num_positions, out_channels)

    def step(self, x: Tensor | None) -> Tensor:
        """(B·width/2, in) or None to (B·width, out)."""
        if x is not None:
            line = x.unflatten(0, (self.cache.batch, 1, -1)).movedim(-1, 1)  # (B, in, 1, width/2)
            block = self.layer.whole(line).movedim(1, -1)  # (B, 2, width, out)
            self.rows.copy_(block.transpose(0, 1).flatten(1, 2))
        return self.rows[self.cache.row % 2]


class _PendingPixels:
    """The values that wait for their pixel: the rest of the 2×2 block."""

    def __init__(self, layer: Upsample, cache: RasterCache) -> None:
        in_channels, out_channels = layer.weight.shape[:2]
        assert layer.columns == range(2)
        self.cache = cache
        # One matrix for the whole block: (in, 2·2·out)
        self.weight = layer.weight.permute(0, 2, 3, 1).reshape(in_channels, -1).contiguous()
        self.bias = layer.bias.repeat(4)
        self.rows = self.weight.new_zeros(2, cache.batch, cache.width, out_channels)
        self.pixels = [row.unbind(1) for row in self.rows]

    def step(self, x: Tensor | None, column: int) -> Tensor:
        """(B, in) or None to (B, out)."""
        if x is not None:
            block = torch.addmm(self.bias, x, self.weight).view(self.cache.batch, 2, 2, -1)
            self.rows[:, :, column : column + 2] = block.transpose(0, 1)
        return self.pixels[self.cache.row % 2][column]
