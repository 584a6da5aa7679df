"""Choosers of levels: draw, take the likeliest, replay or complete."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from pixelcnn_lit.likelihoods import AbstractPixels
from pixelcnn_lit.sampling.scans import PresentRow

Chooser = Callable[[AbstractPixels, int, int], Tensor]
"""(distribution of B pixels, row, column) to levels (B, C); any function will do."""


class AbstractRowChooser(ABC):
    """A chooser that finds what belongs to the present row always in the same place.

    Its choices can therefore be recorded together with the rest of a row's work.
    """

    @abstractmethod
    def read_row(self, row: int) -> None:
        """Put what belongs to a row in place."""

    @abstractmethod
    def __call__(self, pixels: AbstractPixels, row: int, column: int) -> Tensor:
        """Levels (B, C) for a pixel of the present row; ``row`` may be that of a recording."""


class Draw(AbstractRowChooser):
    """Draws each pixel from its distribution.

    Args:
        uniforms: (B, H, W, num_uniforms or more) in [0, 1); the same numbers give the same images.
    """

    def __init__(self, uniforms: Tensor) -> None:
        self._uniforms = PresentRow(uniforms)
        self._columns = self._uniforms.here.unbind(1)

    def read_row(self, row: int) -> None:
        """The random numbers of the row."""
        self._uniforms.read(row)

    def __call__(self, pixels: AbstractPixels, row: int, column: int) -> Tensor:
        """Levels (B, C) drawn."""
        return pixels.quantile(self._columns[column][:, : pixels.num_uniforms])


class Likeliest(AbstractRowChooser):
    """The greedy chooser: colour by colour the most probable level."""

    def read_row(self, row: int) -> None:
        """Nothing belongs to a row."""

    def __call__(self, pixels: AbstractPixels, row: int, column: int) -> Tensor:
        """The mode (B, C)."""
        return pixels.mode


class Replay(AbstractRowChooser):
    """Teacher forcing: puts down the given images (B, C, H, W)."""

    def __init__(self, images: Tensor) -> None:
        self._levels = PresentRow(images.movedim(1, -1))
        self._columns = self._levels.here.unbind(1)

    def read_row(self, row: int) -> None:
        """The levels of the row."""
        self._levels.read(row)

    def __call__(self, pixels: AbstractPixels, row: int, column: int) -> Tensor:
        """The levels (B, C) of the images."""
        return self._columns[column]


class Complete(AbstractRowChooser):
    """Keeps the pixels of ``images`` where ``given``, lets another chooser fill the rest.

    Args:
        images: levels (B, C, H, W).
        given: bool (H, W) or (B, H, W); a pixel is kept with all its colours.
        otherwise: chooses the other pixels.
    """

    def __init__(self, images: Tensor, given: Tensor, otherwise: Chooser) -> None:
        self.otherwise = otherwise
        self._kept = Replay(images)
        self._given = PresentRow(given.expand(len(images), *given.shape[-2:]))
        self._columns = self._given.here.unsqueeze(-1).unbind(1)  # each (B, 1)

    def read_row(self, row: int) -> None:
        """What is kept of the row, and what the other chooser needs for it."""
        self._kept.read_row(row)
        self._given.read(row)
        if isinstance(self.otherwise, AbstractRowChooser):
            self.otherwise.read_row(row)

    def __call__(self, pixels: AbstractPixels, row: int, column: int) -> Tensor:
        """The levels (B, C) kept or chosen."""
        levels = self.otherwise(pixels, row, column)
        kept = self._kept(pixels, row, column).to(levels.dtype)
        return torch.where(self._columns[column], kept, levels)


def can_be_recorded(chooser: Chooser) -> bool:
    """Whether a chooser does the same work on the same memory on every row."""
    if isinstance(chooser, Complete):
        return can_be_recorded(chooser.otherwise)
    return isinstance(chooser, AbstractRowChooser)
