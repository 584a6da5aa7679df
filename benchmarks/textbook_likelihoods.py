"""The likelihoods of ``textbook.py``: params and levels to nats, without a distribution between.

Sources: van den Oord et al. (2016a), Pixel Recurrent Neural Networks, §2.2; Salimans et al. (2017),
PixelCNN++, §2.1 and §2.2, and the code that came with it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax(params: Tensor, images: Tensor) -> Tensor:
    """A logit for every level of the one colour."""
    return -F.cross_entropy(params, images[:, 0].long(), reduction="none").sum((1, 2))


def logistic_mixture(params: Tensor, images: Tensor, num_levels: int, num_mix: int) -> Tensor:
    """Equations 1 to 3 of 2017."""
    channels, half_bin = images.shape[1], 1 / (num_levels - 1)
    params = params.permute(0, 2, 3, 1)  # (B, H, W, num_params)
    x = images.permute(0, 2, 3, 1).to(params.dtype) * (2 * half_bin) - 1
    logits, params = params[..., :num_mix], params[..., num_mix:].unflatten(-1, (-1, num_mix))
    loc, log_scale = params[..., :channels, :], params[..., channels : 2 * channels, :]
    log_scale = log_scale.clamp(min=-7.0)
    coeffs = iter(params[..., 2 * channels :, :].tanh().unbind(-2))
    x = x.unsqueeze(-1) + torch.zeros_like(loc)  # (B, H, W, C, K)
    locs = list(loc.unbind(-2))
    for color in range(channels):
        for earlier in range(color):
            locs[color] = locs[color] + next(coeffs) * x[..., earlier, :]
    inverse_scale = torch.exp(-log_scale)
    centered = x - torch.stack(locs, -2)
    upper = inverse_scale * (centered + half_bin)
    lower = inverse_scale * (centered - half_bin)
    log_below_upper = upper - F.softplus(upper)  # log σ(a)
    log_above_lower = -F.softplus(lower)  # log(1 − σ(b))
    log_overlap = torch.log(-torch.expm1(-2 * half_bin * inverse_scale))
    inside = log_below_upper + log_above_lower + log_overlap  # log(σ(a) − σ(b))
    log_probs = torch.where(
        x < -1 + half_bin,
        log_below_upper,
        torch.where(x > 1 - half_bin, log_above_lower, inside),
    )
    mixed = log_probs.sum(-2) + F.log_softmax(logits, -1)
    return torch.logsumexp(mixed, -1).sum((1, 2))
