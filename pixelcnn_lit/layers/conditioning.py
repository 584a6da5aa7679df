"""What every block adds of the condition."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers.raster_cache import AbstractRowCache, RasterCache


class Condition(nn.Module):
    """A linear map of the condition, without bias: of one vector for all positions, or of a map.

    Source: van den Oord et al. (2016b), eq. 4 (vector) and eq. 5 (spatial map, an unmasked 1×1).
    """

    def __init__(self, cond_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, cond_channels))
        nn.init.normal_(self.weight, std=0.05)

    def forward(self, cond: Tensor, cache: RasterCache | None = None) -> Tensor:
        """(B, D) to (B, out, 1, 1), or (B, D, H, W) to (B, out, H, W).

        On a walk (B, D), or the present row of a map, (B, width, D), at a fixed address, to
        (N, out).
        """
        if cache is None:
            if cond.ndim == 2:
                return F.linear(cond, self.weight)[:, :, None, None]
            return F.conv2d(cond, self.weight[:, :, None, None])
        if cond.ndim == 2:
            return cache.keep(self, lambda: self._spread(cond, cache))
        if cache.column is None:
            return F.linear(cond.flatten(0, 1), self.weight)
        return cache.keep(self, lambda: _MapRow(self, cond)).pixels[cache.column]

    def _spread(self, cond: Tensor, cache: RasterCache) -> Tensor:
        """Of a vector, once per walk: (B, out), or (B·width, out) for whole rows."""
        projected = F.linear(cond, self.weight)
        return projected.repeat_interleave(cache.width, 0) if cache.column is None else projected


class _MapRow(AbstractRowCache):
    """A row of a map, projected for its pixels."""

    def __init__(self, layer: Condition, cond: Tensor) -> None:
        self.cond = cond.flatten(0, 1)
        self.weight = layer.weight.T
        self.row = cond.new_empty(*cond.shape[:2], len(layer.weight))
        self.pixels = self.row.unbind(1)
        self.start_row()

    def start_row(self) -> None:
        """Project what lies in the row now."""
        torch.mm(self.cond, self.weight, out=self.row.flatten(0, 1))
