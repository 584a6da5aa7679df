"""Guided pixels are a distribution like any other: by enumeration and by the chain rule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pixelcnn_lit.likelihoods import (
    AbstractLikelihood,
    AbstractPixels,
    Bernoulli,
    ChannelLogisticMixture,
    GuidedPixels,
    LogisticMixture,
    Softmax,
)

pytestmark = pytest.mark.usefixtures("float64")

LIKELIHOODS = [
    Bernoulli(3),
    Softmax(3, 4),
    LogisticMixture(3, 4, num_logistic_mix=2),
    ChannelLogisticMixture(2, 5, num_logistic_mix=2),
    Softmax(1, 6),
]
EVERY_LIKELIHOOD = pytest.mark.parametrize(
    "likelihood", LIKELIHOODS, ids=lambda likelihood: type(likelihood).__name__
)


def pair(likelihood: AbstractLikelihood) -> tuple[AbstractPixels, AbstractPixels]:
    """Two pixels given the condition and without it."""
    conditional, unconditional = torch.randn(2, 2, likelihood.num_params)
    return likelihood(conditional), likelihood(unconditional)


def every_pixel(likelihood: AbstractLikelihood) -> Tensor:
    """All num_levels^C pixels, (N, 1, C)."""
    levels = [torch.arange(likelihood.num_levels)] * likelihood.channels
    return torch.cartesian_prod(*levels).view(-1, 1, likelihood.channels)


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 3.0])
def test_every_colour_is_weighed_by_both_distributions_given_those_before_it(
    likelihood: AbstractLikelihood, guidance: float
):
    conditional, unconditional = pair(likelihood)
    levels = every_pixel(likelihood)
    expected = torch.ones(len(levels), 2)
    for color in range(likelihood.channels):
        toward = conditional.level_log_probs(color, levels).exp()
        start = unconditional.level_log_probs(color, levels).exp()
        weights = start ** (1 - guidance) * toward**guidance
        shares = weights / weights.sum(-1, keepdim=True)
        chosen = levels[..., color, None].expand(-1, 2, 1)
        expected *= shares.gather(-1, chosen)[..., 0]
    pixels = GuidedPixels(conditional, unconditional, guidance)
    probabilities = pixels.log_prob(levels).exp()
    torch.testing.assert_close(probabilities, expected)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(2))


@EVERY_LIKELIHOOD
@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_without_a_push_either_way_they_are_one_of_the_two(
    likelihood: AbstractLikelihood, guidance: float
):
    unguided = pair(likelihood)[::-1]
    pixels = GuidedPixels(unguided[1], unguided[0], guidance)
    levels = every_pixel(likelihood)
    torch.testing.assert_close(pixels.log_prob(levels), unguided[int(guidance)].log_prob(levels))
