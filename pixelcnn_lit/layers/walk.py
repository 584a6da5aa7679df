"""The raster walk: where it stands, and what the layers have seen so far.

Every activation of a causal network needs computing once per image. A walk goes through the rows
and, within a row, through the pixels; the layers keep in it what later positions will read. The
layers themselves stay free of state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

Kept = TypeVar("Kept")


class AbstractRowCache(ABC):
    """What a layer of the pixel steps keeps from row to row."""

    @abstractmethod
    def start_row(self) -> None:
        """Turn the rows seen so far into what the pixels of the present row need of them."""


class Walk:
    """One level of a raster walk over a batch of images; the coarser levels hang below it.

    The grid of level l has the positions whose row and column in the image are multiples of 2^l;
    elsewhere the level sleeps. The finest level holds the image chosen so far.

    Attributes:
        batch: number of images, B.
        width: columns of this level's grid.
        row: row of this level's grid on which the walk stands.
        column: column of this level's grid, or None while a whole row is computed at once.
        coarser: the next level, None at the coarsest.
        image: (B, rows, columns, channels) with a margin of zeros; see :meth:`begin`.
        margin: width of that margin above, to the left and to the right.
    """

    def __init__(self, batch: int, width: int, image: Tensor, margin: int) -> None:
        """Stand above the first row; :meth:`begin` is the way to make one."""
        self.batch = batch
        self.width = width
        self.image = image
        self.margin = margin
        self.row = 0
        self.column: int | None = None
        self.coarser: Walk | None = None
        self._kept: dict[nn.Module, object] = {}
        self._row_caches: list[AbstractRowCache] = []

    @classmethod
    def begin(cls, canvas: Tensor, *, margin: int, num_hierarchies: int = 1) -> Walk:
        """Lay out a canvas, channels last so that every patch is a few contiguous runs.

        Args:
            canvas: what the network reads before anything is chosen, (B, C, H, W).
            margin: how far the widest kernel reads beyond the edge.
            num_hierarchies: how many levels the network has; H and W are multiples of
                2^(num_hierarchies−1).
        """
        batch, _, _, width = canvas.shape
        image = F.pad(canvas, (margin, margin, margin, 0)).movedim(1, -1).contiguous()
        finest = walk = cls(batch, width, image, margin)
        for _ in range(num_hierarchies - 1):
            walk.coarser = cls(batch, walk.width // 2, image, margin)
            walk = walk.coarser
        return finest

    def paint(self, row: int, column: int, x: Tensor) -> None:
        """Write the chosen colours of one pixel, (B, C) in [-1, 1]."""
        self.image[:, self.margin + row, self.margin + column, : x.shape[1]] = x

    def stand(self, row: int, column: int | None) -> None:
        """Move to a position of the image, or to a whole row where ``column`` is None."""
        self.row = row
        self.column = column
        if self.coarser:
            self.coarser.stand(row // 2, None if column is None else column // 2)

    @property
    def wakes_coarser(self) -> bool:
        """Whether the coarser level has the present position."""
        return not (self.row % 2 or (self.column or 0) % 2)

    def start_row(self) -> None:
        """Let the layers of every level that has the present row prepare for its pixels."""
        for cache in self._row_caches:
            cache.start_row()
        if self.coarser and self.row % 2 == 0:
            self.coarser.start_row()

    def keep(self, layer: nn.Module, make: Callable[[], Kept]) -> Kept:
        """What ``layer`` keeps on this walk, made at its first visit."""
        if layer not in self._kept:
            made = make()
            self._kept[layer] = made
            if isinstance(made, AbstractRowCache):
                self._row_caches.append(made)
        return cast("Kept", self._kept[layer])

    def num_bytes(self) -> int:
        """Memory of the image and of everything the layers keep, their weights included."""
        levels: list[Walk] = [self]
        while levels[-1].coarser:
            levels.append(levels[-1].coarser)
        tensors = _tensors([self.image, *(list(walk._kept.values()) for walk in levels)])
        sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        return sum(sizes.values())


def _tensors(kept: object) -> Iterator[Tensor]:
    """All tensors within lists, tuples and the caches of the layers."""
    if isinstance(kept, Tensor):
        yield kept
    elif isinstance(kept, list | tuple):
        for item in kept:
            yield from _tensors(item)
    elif not isinstance(kept, nn.Module | Walk) and hasattr(kept, "__dict__"):
        yield from _tensors(list(vars(kept).values()))
