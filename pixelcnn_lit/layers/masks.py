"""Masks that order the colours of a pixel.

Features fall into as many groups as there are colours to order; group g may depend on the colours
up to g ("B"), or, in the layer that reads the image, on those before g ("A"). With one group the
centre of an "A" kernel is dark and that of a "B" kernel open.

Source: van den Oord et al. (2016a), Pixel Recurrent Neural Networks, §3.4 and figure 2.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

MaskType = Literal["A", "B"]


def color_groups(num_features: int, colors: int) -> Tensor:
    """The colour each feature belongs to, in equal consecutive groups where they divide evenly.

    Args:
        num_features: how many features, at least ``colors``.
        colors: how many colours are ordered; 1 puts all features into one group.

    Returns:
        int64 (num_features,), rising from 0 to colors−1.
    """
    return torch.arange(num_features) * colors // num_features


def color_mask(mask_type: MaskType, groups_in: Tensor, groups_out: Tensor) -> Tensor:
    """Which input feature an output feature of the same pixel may read, bool (out, in)."""
    earlier, own = groups_in[None, :], groups_out[:, None]
    return earlier < own if mask_type == "A" else earlier <= own


def kernel_mask(rows: range, columns: range, center: Tensor) -> Tensor:
    """Which taps of a causal kernel are open.

    Args:
        rows: offsets of the taps from the output pixel; none is below it.
        columns: likewise; on the own row those to the right are dark.
        center: bool (out, in), what the tap on the output pixel itself may read.

    Returns:
        bool (out, in, rows, columns): open above and to the left, ``center`` at (0, 0), dark
        to the right.
    """
    row = torch.tensor(list(rows))[:, None]
    column = torch.tensor(list(columns))
    past = (row < 0) | (column < 0)
    own = (row == 0) & (column == 0)
    return past | (own & center[:, :, None, None])
