"""Raster scan of a network: its parameters at one position after another."""

from __future__ import annotations

from torch import Tensor

from pixelcnn_lit.networks.base import AbstractNetwork


class PresentRow:
    """A copy of one row at a fixed address, where recorded work finds every row in its turn.

    Attributes:
        here: (B, …), contiguous; what it holds before the first :meth:`read` is undefined.
    """

    def __init__(self, whole: Tensor) -> None:
        """``whole`` is (B, H, …)."""
        self._whole = whole
        self.here = whole.new_empty(whole[:, 0].shape)

    def read(self, row: int) -> None:
        """Put a row in place."""
        self.here.copy_(self._whole[:, row])


class CachedScan:
    """Computes every activation once: the vertical part once per row, the rest once per position.

    A row begins with :meth:`read_row` and :meth:`start_row`. From then on rows of the same kind
    are the same work on the same memory.
    """

    def __init__(self, network: AbstractNetwork, x: Tensor, cond: Tensor | None) -> None:
        self.network = network
        self.x = x
        self.cache = network.begin_cache(x)
        self.conds = network.conds(cond, x)
        self.maps: dict[int, PresentRow] = {}
        for level, level_cond in enumerate(self.conds):
            if level_cond is not None and level_cond.ndim == 4:
                self.maps[level] = PresentRow(level_cond.movedim(1, -1))
                self.conds[level] = self.maps[level].here
        self.features: list[list[tuple[Tensor, ...]]] = []

    def kind(self, row: int) -> int:
        """How many of the coarser levels have the row: times 2 divides it, up to their number."""
        num_coarser = self.network.num_hierarchies - 1
        return next((n for n in range(num_coarser) if row >> n & 1), num_coarser)

    def read_row(self, row: int) -> None:
        """Put the row of a map in place, on every level that has it."""
        for level, present in self.maps.items():
            if row % 2**level == 0:
                present.read(row >> level)

    def start_row(self, row: int) -> None:
        """Run the vertical part on the rows above and hand its features out by column."""
        self.cache.start_row(row)
        features = self.network.vertical(self.x, self.conds, self.cache)
        self.features = [
            [feature.unflatten(0, (len(self.x), -1)).unbind(1) for feature in level]
            for level in features
        ]

    def params(self, row: int, column: int) -> Tensor:
        """Parameters (B, num_params) of a pixel, from all pixels before it and its own colours."""
        self.cache.stand(row, column)
        here = [
            [] if column % 2**level else [feature[column >> level] for feature in features]
            for level, features in enumerate(self.features)
        ]
        return self.network.horizontal(self.x, here, self.conds, self.cache)

    def paint(self, row: int, column: int, x: Tensor) -> None:
        """Write the pixel as far as it is chosen, floats (B, channels so far)."""
        self.cache.paint(column, x)
