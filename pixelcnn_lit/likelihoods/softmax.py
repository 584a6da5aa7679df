"""Softmax over the levels: no notion of neighbouring levels, any shape of distribution.

Source: van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks" (2016a), §2.2:
pixels as discrete variables.
"""

from __future__ import annotations

from torch import Tensor

from pixelcnn_lit.likelihoods.base import AbstractLikelihood, AbstractPixels
from pixelcnn_lit.likelihoods.categorical import categorical_quantile, take


class SoftmaxPixels(AbstractPixels):
    """Colours with one probability per level, independent given the parameters.

    Args:
        logits: (…, C, num_levels), not necessarily normalised.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        channels, num_levels = logits.shape[-2:]
        super().__init__(logits.shape[:-2], channels, num_levels, channels)

    def _log_prob(self, levels: Tensor) -> Tensor:
        return take(self.logits.log_softmax(-1), levels.long()).sum(-1)

    def _level_log_probs(self, color: int, levels: Tensor) -> Tensor:
        return self.logits[..., color, :].log_softmax(-1)

    def _quantile(self, uniforms: Tensor) -> Tensor:
        return categorical_quantile(self.logits, uniforms)


class Softmax(AbstractLikelihood):
    """One logit per colour and level; the parameters are (C, num_levels), colours outermost.

    Args:
        channels: colours per pixel.
        num_levels: levels per colour.

    Example:
        >>> import torch
        >>> pixels = Softmax(channels=3, num_levels=4)(torch.zeros(2, 12, 5, 5))
        >>> pixels.batch_shape, pixels.event_shape
        (torch.Size([2, 5, 5]), torch.Size([3]))
    """

    couples_channels = False

    def __init__(self, channels: int, num_levels: int) -> None:
        super().__init__(channels, num_levels, num_params=channels * num_levels)

    def _pixels(self, params: Tensor, temperature: float) -> SoftmaxPixels:
        logits = params.unflatten(-1, (self.channels, self.num_levels))
        if temperature != 1:  # these are the largest params of all: no copy of them in training
            logits = logits / temperature
        return SoftmaxPixels(logits)
