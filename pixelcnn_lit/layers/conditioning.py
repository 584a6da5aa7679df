"""What every block adds of the condition."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers.walk import Walk


class Condition(nn.Module):
    """A linear map of the condition, without bias: of one vector for all positions, or of a map.

    Source: van den Oord et al. (2016b), eq. 4 (vector) and eq. 5 (spatial map, an unmasked 1×1).
    """

    def __init__(self, cond_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, cond_channels))
        nn.init.normal_(self.weight, std=0.05)

    def forward(self, cond: Tensor, walk: Walk | None = None) -> Tensor:
        """(B, D) to (B, out, 1, 1), or (B, D, H, W) to (B, out, H, W); on a walk to (N, out)."""
        if walk is not None:
            return self._at(walk, walk.keep(self, lambda: self._spread(cond, walk)))
        if cond.ndim == 2:
            return F.linear(cond, self.weight)[:, :, None, None]
        return F.conv2d(cond, self.weight[:, :, None, None])

    def _spread(self, cond: Tensor, walk: Walk) -> Tensor:
        """Once per walk: (B, out), (B·width, out), or a map (B, H, W, out)."""
        projected = F.linear(cond if cond.ndim == 2 else cond.movedim(1, -1), self.weight)
        if cond.ndim == 2 and walk.column is None:
            return projected.repeat_interleave(walk.width, 0)
        return projected

    def _at(self, walk: Walk, projected: Tensor) -> Tensor:
        """What lies at the position of the walk, (N, out)."""
        if projected.ndim == 2:
            return projected
        row = projected[:, walk.row]
        return row.flatten(0, 1) if walk.column is None else row[:, walk.column]
