"""Activations by name, and how much each widens the features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ResnetActivation = Literal["concat_elu", "elu", "relu"]


def concat_elu(x: Tensor) -> Tensor:
    """ELU of x and of −x side by side: (B, F, …) to (B, 2F, …).

    Source: Salimans et al. (2017), after Shang et al. (2016), concatenated ReLU.
    """
    return F.elu(torch.cat([x, -x], 1))


class ConcatELU(nn.Module):
    """:func:`concat_elu` as a module; doubles the features."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, …) to (B, 2F, …)."""
        return concat_elu(x)


def activation(name: ResnetActivation) -> tuple[nn.Module, int]:
    """The activation of a residual block and the factor by which it multiplies the features.

    Raises:
        ValueError: if the name is none of the three.
    """
    match name:
        case "concat_elu":
            return ConcatELU(), 2
        case "elu":
            return nn.ELU(), 1
        case "relu":
            return nn.ReLU(), 1
    raise ValueError(f"resnet_activation={name!r}: allowed are concat_elu, elu, relu")
