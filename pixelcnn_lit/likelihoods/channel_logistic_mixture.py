"""One mixture of discretised logistics per colour, none of which sees another colour.

Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++" (2017), §2.1, equations 1 and 2. Made for
networks that order the colours themselves, where the paper's coupling (§2.2) would count twice.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from pixelcnn_lit.likelihoods.base import AbstractLikelihood, AbstractPixels
from pixelcnn_lit.likelihoods.categorical import categorical_quantile, take
from pixelcnn_lit.likelihoods.logistic import (
    LOG_SCALE_FLOOR,
    logistic_log_prob,
    logistic_quantile,
    nearest_level,
)


class ChannelLogisticMixturePixels(AbstractPixels):
    """Colours that are independent given the parameters, each a mixture of K logistics.

    Args:
        logits: (…, C, K), of the components, not necessarily normalised.
        loc: (…, C, K), locations in [-1, 1] units.
        log_scale: (…, C, K).
        num_levels: levels per colour.
        validate_args: whether values are checked too, see ``AbstractPixels``.
    """

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        num_levels: int,
        validate_args: bool | None = None,
    ) -> None:
        self.logits = logits
        self.loc = loc
        self.log_scale = log_scale
        channels = loc.shape[-2]
        # Per colour a uniform for the component and one for the level, in this order.
        super().__init__(loc.shape[:-2], channels, num_levels, 2 * channels, validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """What the parameters may be, apart from their shapes."""
        return {
            "logits": constraints.independent(constraints.real, 2),
            "loc": constraints.independent(constraints.real, 2),
            "log_scale": constraints.independent(constraints.real, 2),
        }

    def _log_prob(self, levels: Tensor) -> Tensor:
        x = levels.to(self.loc.dtype).unsqueeze(-1)
        components = logistic_log_prob(x, self.loc, self.log_scale, self.num_levels)  # (…, C, K)
        return (self.logits.log_softmax(-1) + components).logsumexp(-1).sum(-1)

    def _level_log_probs(self, color: int, levels: Tensor) -> Tensor:
        every_level = torch.arange(self.num_levels, dtype=self.loc.dtype, device=self.loc.device)
        components = logistic_log_prob(
            every_level.unsqueeze(-1),
            self.loc[..., color, None, :],
            self.log_scale[..., color, None, :],
            self.num_levels,
        )  # (…, num_levels, K)
        weights = self.logits[..., color, None, :].log_softmax(-1)
        return (weights + components).logsumexp(-1)

    def _quantile(self, uniforms: Tensor) -> Tensor:
        which, where = uniforms.unflatten(-1, (-1, 2)).unbind(-1)  # each (…, C)
        component = categorical_quantile(self.logits, which)
        loc, log_scale = take(self.loc, component), take(self.log_scale, component)
        positions = logistic_quantile(where, loc, log_scale, self.num_levels)
        return nearest_level(positions, self.num_levels).long()


class ChannelLogisticMixture(AbstractLikelihood):
    """One mixture of K logistics per colour; the parameters are (C, 3, K), colours outermost.

    The 3 are the components' logits, locations and log_scales.

    Args:
        channels: colours per pixel.
        num_levels: levels per colour.
        num_logistic_mix: components K per colour.

    Raises:
        ValueError: if ``num_logistic_mix`` is below 1.

    Example:
        >>> likelihood = ChannelLogisticMixture(channels=3, num_levels=256, num_logistic_mix=10)
        >>> likelihood.num_params
        90
    """

    couples_channels = False

    def __init__(self, channels: int, num_levels: int, num_logistic_mix: int = 10) -> None:
        if num_logistic_mix < 1:
            raise ValueError(f"num_logistic_mix={num_logistic_mix}: at least 1")
        super().__init__(channels, num_levels, num_params=3 * num_logistic_mix * channels)
        self.num_logistic_mix = num_logistic_mix

    def _pixels(self, params: Tensor, temperature: float) -> ChannelLogisticMixturePixels:
        per_color = params.unflatten(-1, (self.channels, 3, self.num_logistic_mix))
        logits, loc, log_scale = per_color.unbind(-2)  # each (…, C, K)
        return ChannelLogisticMixturePixels(
            logits / temperature,
            loc,
            log_scale.clamp(min=LOG_SCALE_FLOOR) + math.log(temperature),
            self.num_levels,
            validate_args=False,
        )
