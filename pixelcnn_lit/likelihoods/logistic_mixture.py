"""Mixtures of discretised logistics: one per pixel that couples the colours, or one per colour.

Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++" (2017), §2.1 (equations 1 and 2) and §2.2
(equation 3): a component is shared by the colours of a pixel, and within it the location of a
colour shifts linearly with the colours before it, μ_c + Σ_{d<c} α_cd x_d.

One mixture per colour is made for networks that order the colours themselves, where this coupling
would count twice.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pixelcnn_lit.images import rescale
from pixelcnn_lit.likelihoods.base import AbstractLikelihood, AbstractPixels
from pixelcnn_lit.likelihoods.categorical import categorical_quantile, take
from pixelcnn_lit.likelihoods.logistic import (
    LOG_SCALE_FLOOR,
    logistic_log_prob,
    logistic_quantile,
    mixture_level_log_probs,
    nearest_level,
)


def pair_index(color: int, earlier: int) -> int:
    """Where the pair stands in the list (1,0), (2,0), (2,1), (3,0), … of coefficients."""
    return color * (color - 1) // 2 + earlier


class LogisticMixturePixels(AbstractPixels):
    """Pixels from a mixture of K components, each a chain of C logistics.

    Args:
        logits: (…, K), of the components, not necessarily normalised.
        loc: (…, C, K), locations in [-1, 1] units.
        log_scale: (…, C, K).
        coeffs: (…, C(C−1)/2, K) in [-1, 1], in the order of ``pair_index``.
        num_levels: levels per colour.
    """

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        coeffs: Tensor,
        num_levels: int,
    ) -> None:
        self.logits = logits
        self.loc = loc
        self.log_scale = log_scale
        self.coeffs = coeffs
        channels = loc.shape[-2]
        # One uniform for the pixel's component, then one per colour.
        super().__init__(loc.shape[:-2], channels, num_levels, 1 + channels)

    def _log_prob(self, levels: Tensor) -> Tensor:
        return self._joint_log_probs(levels, self.event_shape[0]).logsumexp(-1)

    def _level_log_probs(self, color: int, levels: Tensor) -> Tensor:
        # Given the earlier colours, the components' weights are their posterior.
        joint = self._joint_log_probs(levels, color)
        loc, log_scale = self._shifted_loc(color, levels), self.log_scale[..., color, :]
        return mixture_level_log_probs(joint, loc, log_scale, self.num_levels)

    def _quantile(self, uniforms: Tensor) -> Tensor:
        # One component for all colours of the pixel: drawing it anew per colour would keep every
        # colour's own distribution and destroy what ties them together.
        component = categorical_quantile(self.logits, uniforms[..., 0]).unsqueeze(-1)
        parameters = torch.cat([self.loc, self.log_scale, self.coeffs], -2)
        chosen = take(parameters, component)  # (…, 2C + C(C−1)/2)
        channels = self.event_shape[0]
        loc, log_scale = chosen[..., :channels], chosen[..., channels : 2 * channels]
        coeffs = chosen[..., 2 * channels :].unbind(-1)
        positions = logistic_quantile(uniforms[..., 1:], loc, log_scale, self.num_levels)
        middle = (self.num_levels - 1) / 2  # the level at 0 in [-1, 1] units
        levels: list[Tensor] = []
        for color, position in enumerate(positions.unbind(-1)):
            for earlier, level in enumerate(levels):  # the level, not the position it came from
                coeff = coeffs[pair_index(color, earlier)]
                position = torch.addcmul(position, coeff, level - middle)
            levels.append(nearest_level(position, self.num_levels))
        return torch.stack(levels, -1).long()

    def _joint_log_probs(self, levels: Tensor, num_colors: int) -> Tensor:
        """Log P(component, first colours), (…, K)."""
        weights = self.logits.log_softmax(-1)
        if num_colors == 0:
            return weights
        locs = [self._shifted_loc(color, levels) for color in range(num_colors)]
        loc = torch.stack(torch.broadcast_tensors(*locs), -2)
        x = levels[..., :num_colors, None].to(loc.dtype)
        log_scale = self.log_scale[..., :num_colors, :]
        return weights + logistic_log_prob(x, loc, log_scale, self.num_levels).sum(-2)

    def _shifted_loc(self, color: int, levels: Tensor) -> Tensor:
        """The colour's locations given the earlier colours, (…, K), equation 3."""
        loc = self.loc[..., color, :]
        for earlier in range(color):
            x = rescale(levels[..., earlier, None].to(loc.dtype), self.num_levels)
            loc = loc + self.coeffs[..., pair_index(color, earlier), :] * x
        return loc


class LogisticMixture(AbstractLikelihood):
    """PixelCNN++'s likelihood: K(1 + 2C + C(C−1)/2) parameters, 10K for RGB, 3K for grey.

    Their order: K component logits, locations (C, K), log_scales (C, K), coefficients
    (C(C−1)/2, K) in the order (1,0), (2,0), (2,1), …, which pass through tanh. With one colour
    it is the same as ``ChannelLogisticMixture``.

    Args:
        channels: colours per pixel.
        num_levels: levels per colour.
        num_logistic_mix: components K.

    Raises:
        ValueError: if ``num_logistic_mix`` is below 1.

    Example:
        >>> import torch
        >>> likelihood = LogisticMixture(channels=3, num_levels=256, num_logistic_mix=10)
        >>> pixels = likelihood(torch.zeros(1, likelihood.num_params, 32, 32))
        >>> pixels.log_prob(pixels.sample()).shape
        torch.Size([1, 32, 32])
    """

    couples_channels = True

    def __init__(self, channels: int, num_levels: int, num_logistic_mix: int = 10) -> None:
        if num_logistic_mix < 1:
            raise ValueError(f"num_logistic_mix={num_logistic_mix}: at least 1")
        num_pairs = channels * (channels - 1) // 2
        num_params = num_logistic_mix * (1 + 2 * channels + num_pairs)
        super().__init__(channels, num_levels, num_params)
        self.num_logistic_mix = num_logistic_mix

    def _pixels(self, params: Tensor, temperature: float) -> LogisticMixturePixels:
        grouped = params.unflatten(-1, (-1, self.num_logistic_mix))
        channels = self.channels
        return LogisticMixturePixels(
            grouped[..., 0, :] / temperature,
            grouped[..., 1 : 1 + channels, :],
            grouped[..., 1 + channels : 1 + 2 * channels, :].clamp(min=LOG_SCALE_FLOOR)
            + math.log(temperature),
            grouped[..., 1 + 2 * channels :, :].tanh(),
            self.num_levels,
        )


class ChannelLogisticMixturePixels(AbstractPixels):
    """Colours that are independent given the parameters, each a mixture of K logistics.

    Args:
        logits: (…, C, K), of the components, not necessarily normalised.
        loc: (…, C, K), locations in [-1, 1] units.
        log_scale: (…, C, K).
        num_levels: levels per colour.
    """

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        num_levels: int,
    ) -> None:
        self.logits = logits
        self.loc = loc
        self.log_scale = log_scale
        channels = loc.shape[-2]
        # Per colour a uniform for the component and one for the level, in this order.
        super().__init__(loc.shape[:-2], channels, num_levels, 2 * channels)

    def _log_prob(self, levels: Tensor) -> Tensor:
        x = levels.to(self.loc.dtype).unsqueeze(-1)
        components = logistic_log_prob(x, self.loc, self.log_scale, self.num_levels)  # (…, C, K)
        return (self.logits.log_softmax(-1) + components).logsumexp(-1).sum(-1)

    def _level_log_probs(self, color: int, levels: Tensor) -> Tensor:
        logits, loc = self.logits[..., color, :], self.loc[..., color, :]
        log_scale = self.log_scale[..., color, :]
        return mixture_level_log_probs(logits, loc, log_scale, self.num_levels)

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
        )
