"""Activations of PixelCNN++ by name, and how much each widens the features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

ResnetActivation = Literal["concat_elu", "elu", "relu"]


def concat_elu(x: Tensor) -> Tensor:
    """ELU of x and of −x side by side: (B, F, …) to (B, 2F, …).

    Source: Salimans et al. (2017), after Shang et al. (2016), concatenated ReLU.
    """
    return F.elu(torch.cat([x, -x], 1))


RESNET_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "concat_elu": (concat_elu, 2),
    "elu": (F.elu, 1),
    "relu": (F.relu, 1),
}
"""The activation of a residual block and the factor by which it multiplies the features."""
