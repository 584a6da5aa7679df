"""Causal convolutions, on the whole image and at one position of a walk.

A kernel is described by the offsets it reads, ``rows`` and ``columns`` relative to the output
pixel: ``rows=range(-1, 1), columns=range(-1, 2)`` reads the row above and the own row, one column
to each side. A kernel that never reads below or to the right on the own row is causal.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers.fused import Border, Bordered
from pixelcnn_lit.layers.raster_cache import AbstractRowCache, RasterCache


class AbstractConv2d(nn.Module, ABC):
    """Weights of a convolution given by the offsets it reads, optionally masked."""

    mask: Tensor | None
    init_deviation: float = 1.0
    """The deviation data-dependent initialisation gives the output, where it is used."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rows: range,
        columns: range,
        *,
        mask: Tensor | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.rows = rows
        self.columns = columns
        self.stride = stride
        shape = (out_channels, in_channels, len(rows), len(columns))
        open_taps = None if mask is None or bool(mask.all()) else mask.expand(shape)
        if open_taps is not None:
            open_taps = open_taps.clone(memory_format=torch.channels_last)
        self.register_buffer("mask", open_taps, persistent=False)
        fan_in = in_channels * len(rows) * len(columns)
        if open_taps is not None:
            fan_in = max(1.0, float(open_taps.sum()) / out_channels)
        bound = 1 / math.sqrt(fan_in)
        # drawn in the order of the axes, whatever their order in memory
        weight = nn.init.uniform_(torch.empty(shape), -bound, bound)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(nn.init.uniform_(torch.empty(out_channels), -bound, bound))

    def kernel(self) -> Tensor:
        """The weights in force, (out, in, rows, columns)."""
        return self.weight if self.mask is None else self.weight * self.mask

    def taps(self) -> Tensor:
        """The weights as one matrix per offset, (rows, columns, in, out)."""
        return self.kernel().permute(2, 3, 1, 0).contiguous()

    @property
    def num_own_row(self) -> int:
        """How many columns the kernel reads on the own row, up to the output pixel."""
        return min(self.columns.stop, 1) - self.columns.start

    @property
    def border(self) -> Border:
        """The zeros that the kernel reads around an image."""
        left, right = -self.columns.start, self.columns.stop - 1
        return left, right, -self.rows.start, self.rows.stop - 1

    def whole(self, x: Tensor | Bordered) -> Tensor:
        """The convolution of whole images, (B, in, H, W) to (B, out, H/stride, W/stride)."""
        if isinstance(x, Bordered):
            assert x.border == self.border
            x = x.maps
        elif any(self.border):
            x = F.pad(x, self.border)
        return F.conv2d(x, self.kernel(), self.bias, stride=self.stride)

    @abstractmethod
    def forward(self, x: Tensor, cache: RasterCache | None = None) -> Tensor | None:
        """(B, in, H, W) to (B, out, H, W); on a walk (N, in) to (N, out) at its position."""


class Pointwise(AbstractConv2d):
    """1×1 convolution; the same at every position, it keeps only its weights as a matrix."""

    def __init__(self, in_channels: int, out_channels: int, *, mask: Tensor | None = None) -> None:
        """``mask`` is bool (out, in)."""
        center = None if mask is None else mask[:, :, None, None]
        super().__init__(in_channels, out_channels, range(1), range(1), mask=center)

    def forward(self, x: Tensor, cache: RasterCache | None = None) -> Tensor:
        """(B, in, H, W) to (B, out, H, W); on a walk (N, in) to (N, out)."""
        if cache is None:
            return self.whole(x)
        return torch.addmm(self.bias, x, cache.keep(self, lambda: self.taps()[0, 0]))


class Skip(AbstractConv2d):
    """1×1 convolution of the activations of feature maps from elsewhere.

    The weights are those of the activation of all maps side by side: of a doubled one first what
    belongs to x, map after map, then what belongs to −x.
    """

    def __init__(self, num_maps: int, num_filters: int, widening: int) -> None:
        """From ``num_maps`` times ``widening·num_filters`` features to ``num_filters``."""
        super().__init__(num_maps * widening * num_filters, num_filters, range(1), range(1))
        self.num_maps = num_maps
        self.widening = widening

    def matrices(self) -> list[Tensor]:
        """For every map (out, widening·F)."""
        per_map = self.kernel().view(len(self.bias), self.widening, self.num_maps, -1)
        return [matrix.flatten(1) for matrix in per_map.unbind(2)]

    def parts(self, maps: Sequence[Bordered]) -> list[Bordered]:
        """What each map adds to the convolution; it means nothing on the border."""
        biases = [self.bias] + [None] * (self.num_maps - 1)
        return [
            Bordered(F.conv2d(x.maps, matrix[:, :, None, None], bias), x.border)
            for x, matrix, bias in zip(maps, self.matrices(), biases, strict=True)
        ]

    def forward(  # type: ignore[override]
        self, x: Sequence[Tensor], cache: RasterCache | None = None
    ) -> Tensor:
        """Each (B, in, H, W) to (B, out, H, W); on a walk (N, in) to (N, out)."""
        if cache is None:
            matrix = torch.cat(self.matrices(), 1)
            return F.conv2d(torch.cat(list(x), 1), matrix[:, :, None, None], self.bias)
        matrix = cache.keep(self, lambda: torch.cat(self.matrices(), 1).T.contiguous())
        return torch.addmm(self.bias, torch.cat(list(x), 1), matrix)


class Output(nn.Module):
    """The 1×1 convolution to the parameters, in full precision also under autocast.

    bfloat16 has 8 bits: too few for the mean of a sharp distribution over 256 levels.
    """

    def __init__(self, in_channels: int, num_params: int, *, mask: Tensor | None = None) -> None:
        """``mask`` is bool (num_params, in)."""
        super().__init__()
        self.conv = Pointwise(in_channels, num_params, mask=mask)

    def forward(self, x: Tensor, cache: RasterCache | None = None) -> Tensor:
        """(B, in, H, W) to (B, num_params, H, W); on a walk (N, in) to (N, num_params)."""
        if cache is not None:
            return self.conv(x, cache)
        with torch.autocast(x.device.type, enabled=False):
            return self.conv(x.to(self.conv.bias.dtype))


class ImageConv2d(AbstractConv2d):
    """The layer that reads the image; on a walk it reads what has been painted so far."""

    def forward(self, x: Tensor, cache: RasterCache | None = None) -> Tensor:
        """(B, in, H, W) to (B, out, H, W); a walk holds the image itself and ``x`` is not read."""
        if cache is None:  # of one channel torch cannot tell that it comes last
            return self.whole(x).contiguous(memory_format=torch.channels_last)
        if cache.column is None:
            return cache.keep(self, lambda: _ImageRows(self, cache, len(self.rows))).convolve()
        return cache.keep(self, lambda: _ImagePixels(self, cache)).step(cache.column)


class CausalConv2d(AbstractConv2d):
    """A convolution of features; on a walk it keeps the rows of its input that it reads again.

    A kernel open to the right of the output pixel on the own row belongs to a vertical stack,
    which walks by whole rows; any other walks by pixels.
    """

    def forward(self, x: Tensor | Bordered, cache: RasterCache | None = None) -> Tensor:
        """(B, in, H, W) to (B, out, H, W); on a walk (N, in) to (N, out) at its position."""
        if cache is None:
            return self.whole(x)
        assert isinstance(x, Tensor)
        if cache.column is None:
            return cache.keep(self, lambda: RowInputs(self, cache)).step(x)
        return cache.keep(self, lambda: PixelInputs(self, cache)).step(x, cache.column)


class Inputs:
    """The rows of a layer's input that its kernel reads, (rows, B, left + width + right, in).

    Padded rows lie one behind the other in memory, so that the input shifted by a column is a
    contiguous matrix, and a tap costs one matrix product and no copy.
    """

    def __init__(self, conv: AbstractConv2d, cache: RasterCache, num_rows: int) -> None:
        self.cache = cache
        self.taps = conv.taps()
        self.bias = conv.bias
        self.columns = conv.columns
        self.padded_width = len(conv.columns) - 1 + cache.width
        self.num_positions = cache.batch * self.padded_width
        num_inputs = conv.weight.shape[1]
        length = self.num_positions + len(conv.columns) - 1
        self.lines = self.taps.new_zeros(num_rows, length, num_inputs)
        self.newest = self.lines[-1, : self.num_positions].view(cache.batch, -1, num_inputs)

    def shift(self) -> None:
        """Age the rows by one; the newest stays until it is overwritten."""
        if len(self.lines) > 1:
            self.lines[:-1] = self.lines[1:].clone()

    def convolve(self, num_rows: int, out: Tensor) -> None:
        """The first ``num_rows`` rows of the kernel over the lines, to (positions, out)."""
        out.copy_(self.bias)
        for row in range(num_rows):
            for column in range(len(self.columns)):
                window = self.lines[row, column : column + self.num_positions]
                out.addmm_(window, self.taps[row, column])

    def new_outputs(self) -> Tensor:
        """Room for the outputs at all positions, (positions, out)."""
        return self.bias.new_empty(self.num_positions, len(self.bias))

    def inside(self, outputs: Tensor) -> Tensor:
        """The outputs that lie on the grid, (B, width, out)."""
        return outputs.view(self.cache.batch, self.padded_width, -1)[:, : self.cache.width]


class RowInputs:
    """A vertical stack's convolution: a row in, a row out."""

    def __init__(self, conv: AbstractConv2d, cache: RasterCache) -> None:
        self.inputs = Inputs(conv, cache, len(conv.rows))
        self.num_rows = len(conv.rows)
        start = -conv.columns.start
        self.inside = self.inputs.newest[:, start : start + cache.width]

    def push(self, x: Tensor) -> None:
        """Take in a row, (B·width, in)."""
        self.inputs.shift()
        self.inside.copy_(x.view(self.inside.shape))

    def step(self, x: Tensor) -> Tensor:
        """(B·width, in) to (B·width, out)."""
        self.push(x)
        outputs = self.inputs.new_outputs()
        self.inputs.convolve(self.num_rows, outputs)
        return self.inputs.inside(outputs).flatten(0, 1)


class PixelInputs(AbstractRowCache):
    """A horizontal stack's convolution: what the rows above give is computed once per row."""

    def __init__(self, conv: AbstractConv2d, cache: RasterCache) -> None:
        self.num_above = len(conv.rows) - 1
        self.inputs = Inputs(conv, cache, max(self.num_above, 1))
        own, start = conv.num_own_row, -conv.columns.start
        self.own_taps = self.inputs.taps[-1, :own].flatten(0, 1)
        line = self.inputs.newest
        self.pixels = line[:, start : start + cache.width].unbind(1)
        self.patches = [line[:, column : column + own].flatten(1) for column in range(cache.width)]
        self.outputs = self.inputs.new_outputs()
        self.above = self.inputs.inside(self.outputs).unbind(1)
        self.start_row()

    def start_row(self) -> None:
        """Compute what the rows above give to every pixel of the present row."""
        self.inputs.convolve(self.num_above, self.outputs)
        self.inputs.shift()

    def push(self, x: Tensor, column: int) -> None:
        """Take in a pixel, (B, in); again at the same column when a further colour is known."""
        self.pixels[column].copy_(x)

    def step(self, x: Tensor, column: int) -> Tensor:
        """(B, in) to (B, out)."""
        self.push(x, column)
        return torch.addmm(self.above[column], self.patches[column], self.own_taps)


class _ImageRows:
    """Patches of the image over a whole row, for the first rows of a kernel."""

    def __init__(self, conv: AbstractConv2d, cache: RasterCache, num_rows: int) -> None:
        top = cache.margin + conv.rows.start
        left = cache.margin + conv.columns.start
        in_channels = conv.weight.shape[1]
        window = cache.image[:, top : top + num_rows, left:, :in_channels]
        self.columns = [window[:, :, t : t + cache.width] for t in range(len(conv.columns))]
        self.weight = conv.taps()[:num_rows].flatten(0, 2)
        self.bias = conv.bias

    def convolve(self) -> Tensor:
        """(B·width, out)."""
        patches = torch.stack(self.columns, 3)  # (B, rows, width, columns, in)
        return torch.addmm(self.bias, patches.transpose(1, 2).flatten(2).flatten(0, 1), self.weight)


class _ImagePixels(AbstractRowCache):
    """The image layer of a horizontal stack."""

    def __init__(self, conv: AbstractConv2d, cache: RasterCache) -> None:
        num_above = len([row for row in conv.rows if row < 0])
        self.rows = _ImageRows(conv, cache, num_above)
        self.outputs = conv.bias.new_empty(cache.batch * cache.width, len(conv.bias))
        self.above = self.outputs.view(cache.batch, cache.width, -1).unbind(1)
        own, left = conv.num_own_row, cache.margin + conv.columns.start
        self.own_taps = conv.taps()[num_above:, :own].flatten(0, 2)
        line = cache.image[:, -1, :, : conv.weight.shape[1]]
        # view, not flatten: a copy would not see what is painted later
        self.patches = [
            line[:, left + j : left + j + own].view(cache.batch, -1) for j in range(cache.width)
        ]
        self.start_row()

    def start_row(self) -> None:
        """Compute what the rows above give to every pixel of the present row."""
        self.outputs.copy_(self.rows.convolve())

    def step(self, column: int) -> Tensor:
        """(B, out) from the image painted so far."""
        return torch.addmm(self.above[column], self.patches[column], self.own_taps)
