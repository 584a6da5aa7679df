"""Activation cache of a raster walk: where it stands, and what the layers have seen so far.

Every activation of a causal network needs computing once per image. A walk goes through the rows
and, within a row, through the pixels; the layers keep in the cache what later positions will read.
The layers themselves stay free of state.
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


class RasterCache:
    """The cache of one level for a batch of images; the coarser levels hang below it.

    The grid of level l has the positions whose row and column in the image are multiples of 2^l;
    elsewhere the level sleeps.

    All that outlives a row lies at a fixed address: the rows move through the memory, not the walk
    over it. Rows on which the same levels are awake are therefore the same work on the same
    memory, and one of them can be recorded and replayed as the others.

    Attributes:
        batch: number of images, B.
        width: columns of this level's grid.
        row: row of this level's grid on which the walk stands; only what is even and what is odd
            may make a difference.
        column: column of this level's grid, or None while a whole row is computed at once.
        coarser: the next level, None at the coarsest.
        image: what is chosen of the present row, last, and of the rows above it that kernels read,
            (B, margin + 1, margin + width + margin, channels) on the finest level.
        margin: how many rows above are kept, and columns of zeros to the left and to the right.
    """

    def __init__(
        self, batch: int, width: int, image: Tensor, blank: Tensor, margin: int, num_coarser: int
    ) -> None:
        """Stand above the first row; :meth:`begin` is the way to make one."""
        self.batch = batch
        self.width = width
        self.image = image
        self.margin = margin
        self.row = 0
        self._blank = blank
        self._pixels = image[:, -1, margin:].unbind(1)
        self.column: int | None = None
        self.coarser: RasterCache | None = None
        if num_coarser:
            self.coarser = RasterCache(batch, width // 2, image, blank, margin, num_coarser - 1)
        self._kept: dict[nn.Module, object] = {}
        self._row_caches: list[AbstractRowCache] = []

    @classmethod
    def begin(cls, canvas: Tensor, *, margin: int, num_hierarchies: int = 1) -> RasterCache:
        """Lay out a canvas, channels last so that every patch is a few contiguous runs.

        Args:
            canvas: what the network reads before anything is chosen, (B, C, H, W), every row the
                same.
            margin: how far the widest kernel reads beyond the edge.
            num_hierarchies: how many levels the network has; H and W are multiples of
                2^(num_hierarchies−1).
        """
        batch, _, _, width = canvas.shape
        blank = F.pad(canvas[:, :, 0], (margin, margin)).movedim(1, -1).contiguous()
        image = blank.new_zeros(batch, margin + 1, *blank.shape[1:])
        return cls(batch, width, image, blank, margin, num_hierarchies - 1)

    def start_row(self, row: int) -> None:
        """Step down to the next row, on every level that has it."""
        self.image[:, :-1] = self.image[:, 1:].clone()
        self.image[:, -1] = self._blank
        self.stand(row, None)
        self._start_caches()

    def paint(self, column: int, x: Tensor) -> None:
        """Write what is chosen of one pixel of the present row, floats (B, channels so far)."""
        self._pixels[column][:, : x.shape[1]] = x

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

    def keep(self, layer: nn.Module, make: Callable[[], Kept]) -> Kept:
        """What ``layer`` keeps, made at its first visit."""
        if layer not in self._kept:
            made = make()
            self._kept[layer] = made
            if isinstance(made, AbstractRowCache):
                self._row_caches.append(made)
        return cast("Kept", self._kept[layer])

    def tensors(self) -> list[Tensor]:
        """The image and everything the layers keep, their weights as matrices included."""
        own = _tensors([self.image, self._blank, list(self._kept.values())])
        return [*own, *(self.coarser.tensors() if self.coarser else [])]

    def num_bytes(self) -> int:
        """Memory of all that is kept."""
        storages = [tensor.untyped_storage() for tensor in self.tensors()]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    def _start_caches(self) -> None:
        for row_cache in self._row_caches:
            row_cache.start_row()
        if self.coarser and self.row % 2 == 0:
            self.coarser._start_caches()


def _tensors(kept: object) -> Iterator[Tensor]:
    """All tensors within lists, tuples and the caches of the layers."""
    if isinstance(kept, Tensor):
        yield kept
    elif isinstance(kept, list | tuple):
        for item in kept:
            yield from _tensors(item)
    elif not isinstance(kept, nn.Module | RasterCache) and hasattr(kept, "__dict__"):
        yield from _tensors(list(vars(kept).values()))
