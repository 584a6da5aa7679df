"""Input of a network: from levels to floats, in training and on a walk alike."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pixelcnn_lit.images import rescale


class AbstractInput(nn.Module, ABC):
    """Turns the levels of pixels into the floats that a network reads.

    Attributes:
        num_colors: colours of a pixel, C.
        num_levels: levels of a colour.
        in_channels: floats of a pixel; those of a colour lie beside each other, so that the first
            colours of a pixel give the first floats.
    """

    num_colors: int
    num_levels: int
    in_channels: int

    @abstractmethod
    def forward(self, levels: Tensor) -> Tensor:
        """Levels (B, C, …) to floats (B, in_channels, …); the first colours only, to their floats.

        Args:
            levels: whole numbers 0 … num_levels−1 of any integer dtype.
        """


class OrderedLevels(AbstractInput):
    """Levels that are more or less of something, as floats in [-1, 1]: a float for each colour.

    Example:
        >>> OrderedLevels(num_colors=1, num_levels=3)(torch.tensor([[0], [1], [2]])).tolist()
        [[-1.0], [0.0], [1.0]]
    """

    def __init__(self, num_colors: int, num_levels: int) -> None:
        super().__init__()
        self.num_colors = num_colors
        self.num_levels = num_levels
        self.in_channels = num_colors
        # empty: it follows the weights from one floating-point type to another
        self.register_buffer("_floats", torch.empty(0), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Floats of the shape of ``levels``."""
        return rescale(levels.to(self._floats.dtype), self.num_levels)  # type: ignore[arg-type]
