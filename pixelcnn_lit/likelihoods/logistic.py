"""Discretised logistics: the log-probability at a level, also of a mixture, and the quantile.

Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++" (2017), §2.1, equation 2: a level has the
probability of its bin, P(x) = σ((x + Δ/2 − μ)/s) − σ((x − Δ/2 − μ)/s), and the bins of the lowest
and the highest level are open, so that the levels' probabilities sum to 1. Locations and scales
are in units of [-1, 1], where neighbouring levels are Δ = 2/(num_levels − 1) apart.

Departure: the paper's code replaces the difference by density × width where it is below 1e-5.
Here it is exact everywhere: with a and b the arguments of the two sigmoids,
log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − exp(−(a − b))), where a − b = Δ/s.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pixelcnn_lit.images import rescale

LOG_SCALE_FLOOR = -7.0
"""Smallest log_scale a network can ask for, as in the paper's code. Bins of 256 levels are then
8.6 scales wide: more sharpness would gain nothing and blow gradients up."""

LOG_SCALE_CEILING = 80.0
"""Largest log_scale that sampling tells apart: its exp times any logit is still a float32."""


def log1mexp(log_width: Tensor) -> Tensor:
    """log(1 − exp(−width)) from the logarithm of the width, as the width itself may underflow.

    Both branches stay finite, in value and in gradient, where the other one is taken.

    Args:
        log_width: any shape, down to −1e4 and far below.
    """
    width = log_width.exp()
    wide = torch.log1p(-torch.exp(-width.clamp(min=1.0)))
    # Below 1e-18 the quotient is 1 to the last bit, also in float64.
    narrow_width = width.clamp(1e-18, 1.0)
    narrow = log_width + torch.log(-torch.expm1(-narrow_width) / narrow_width)
    return torch.where(width > 1.0, wide, narrow)


def logistic_log_prob(levels: Tensor, loc: Tensor, log_scale: Tensor, num_levels: int) -> Tensor:
    """Log-probability of a level under a discretised logistic, equation 2, in nats.

    Args:
        levels: whole numbers 0 … num_levels−1, of the parameters' dtype.
        loc: location in [-1, 1] units, not bounded.
        log_scale: logarithm of the scale in the same units.
        num_levels: how many levels there are.

    Returns:
        The arguments' common shape.
    """
    half_bin = 1 / (num_levels - 1)
    inverse_scale = torch.exp(-log_scale)
    centered = rescale(levels.to(loc.dtype), num_levels) - loc
    below_upper_edge = F.logsigmoid((centered + half_bin) * inverse_scale)  # log σ(a)
    above_lower_edge = F.logsigmoid((half_bin - centered) * inverse_scale)  # log σ(−b)
    overlap = log1mexp(math.log(2 * half_bin) - log_scale)
    has_upper_edge = levels < num_levels - 1
    has_lower_edge = levels > 0
    zero = torch.zeros_like(overlap[..., :1])
    return (
        torch.where(has_upper_edge, below_upper_edge, zero)
        + torch.where(has_lower_edge, above_lower_edge, zero)
        + torch.where(has_upper_edge & has_lower_edge, overlap, zero)
    )


def mixture_level_log_probs(
    logits: Tensor, loc: Tensor, log_scale: Tensor, num_levels: int
) -> Tensor:
    """Log-probability of every level under a mixture of discretised logistics, in nats.

    Args:
        logits: (…, K), of the components, not necessarily normalised.
        loc: (…, K), locations in [-1, 1] units.
        log_scale: (…, K).
        num_levels: how many levels there are.

    Returns:
        (…, num_levels).
    """
    levels = torch.arange(num_levels, dtype=loc.dtype, device=loc.device).unsqueeze(-1)
    components = logistic_log_prob(levels, loc.unsqueeze(-2), log_scale.unsqueeze(-2), num_levels)
    return (logits.log_softmax(-1).unsqueeze(-2) + components).logsumexp(-1)


def logistic_quantile(uniforms: Tensor, loc: Tensor, log_scale: Tensor, num_levels: int) -> Tensor:
    """Where the uniform lies on the logistic, in units of levels, not yet rounded to one.

    Args:
        uniforms: strictly between 0 and 1.
        loc: location in [-1, 1] units.
        log_scale: logarithm of the scale in the same units.
        num_levels: how many levels there are.

    Returns:
        Floats of the common shape, unbounded.
    """
    scale = log_scale.clamp(max=LOG_SCALE_CEILING).exp()
    return (loc + scale * torch.logit(uniforms) + 1) * ((num_levels - 1) / 2)


def nearest_level(positions: Tensor, num_levels: int) -> Tensor:
    """Positions in units of levels as levels: rounding gives the bins, clamping the open ends.

    Returns:
        Whole numbers 0 … num_levels−1, still as floats.
    """
    return positions.round().clamp(0, num_levels - 1)
