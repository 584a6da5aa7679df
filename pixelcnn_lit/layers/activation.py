"""Activations of PixelCNN++, ELU or ReLU, optionally of x and −x: the plain formulas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Activation:
    """ELU or ReLU, optionally of x and of −x side by side.

    All of them leave 0 at 0, so that zeros around the result are zeros around x.

    Source: Salimans et al. (2017), after Shang et al. (2016), concatenated ReLU.

    Attributes:
        alpha: of ELU; 0 is ReLU.
        doubled: whether the result holds x and −x, one behind the other: (B, 2F, …).
    """

    alpha: float
    doubled: bool

    @property
    def widening(self) -> int:
        """By how much it multiplies the features."""
        return 2 if self.doubled else 1

    def __call__(self, x: Tensor) -> Tensor:
        """(B, F, …) to (B, widening·F, …)."""
        signed = torch.cat([x, -x], 1) if self.doubled else x
        return F.elu(signed, self.alpha) if self.alpha else F.relu(signed)


RESNET_ACTIVATIONS = {
    "concat_elu": Activation(alpha=1.0, doubled=True),
    "elu": Activation(alpha=1.0, doubled=False),
    "relu": Activation(alpha=0.0, doubled=False),
}
