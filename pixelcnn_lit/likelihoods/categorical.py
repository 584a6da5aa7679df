"""Choices from lists: which index a uniform number draws, and the value at an index."""

from __future__ import annotations

import torch
from torch import Tensor


def categorical_quantile(logits: Tensor, uniforms: Tensor) -> Tensor:
    """The index whose share of [0, 1) holds the uniform, in the order of the list.

    Args:
        logits: (…, K), not necessarily normalised.
        uniforms: (…,) strictly between 0 and 1.

    Returns:
        int64 indices (…,), 0 … K−1.
    """
    cumulative = logits.softmax(-1).cumsum(-1)
    # Rounding leaves the total a little off 1; a uniform beyond it would pick the last index, be
    # it as improbable as it may. So the uniform is taken as a share of the total.
    threshold = uniforms.unsqueeze(-1) * cumulative[..., -1:]
    return (cumulative[..., :-1] <= threshold).sum(-1)


def take(values: Tensor, index: Tensor) -> Tensor:
    """The value at an index of the last axis.

    Args:
        values: (…, K).
        index: int64 (…,), 0 … K−1; broadcast against the values' leading axes.

    Returns:
        (…,).
    """
    index, _ = torch.broadcast_tensors(index, values[..., 0])
    return values.expand(*index.shape, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)
