"""Bernoulli: one logit per colour, for binary images.

Source: van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks" (2016a), §5.2:
binary MNIST, the cross-entropy in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pixelcnn_lit.likelihoods.base import AbstractLikelihood, AbstractPixels


class BernoulliPixels(AbstractPixels):
    """Colours that are 0 or 1, independent given the parameters: P(1) = σ(logit).

    Args:
        logits: (…, C), log-odds of level 1.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        channels = logits.shape[-1]
        super().__init__(logits.shape[:-1], channels, 2, channels)

    def _log_prob(self, levels: Tensor) -> Tensor:
        return F.logsigmoid(torch.where(levels > 0, self.logits, -self.logits)).sum(-1)

    def _level_log_probs(self, color: int, levels: Tensor) -> Tensor:
        logit = self.logits[..., color]
        return F.logsigmoid(torch.stack([-logit, logit], -1))

    def _quantile(self, uniforms: Tensor) -> Tensor:
        return (uniforms >= torch.sigmoid(-self.logits)).long()


class Bernoulli(AbstractLikelihood):
    """One logit per colour; 2 levels.

    Args:
        channels: colours per pixel.
        num_levels: 2, as they are.

    Raises:
        ValueError: if ``num_levels`` is another number.

    Example:
        >>> import torch
        >>> pixels = Bernoulli(channels=1)(torch.zeros(1, 1, 28, 28))
        >>> bits = -pixels.log_prob(torch.zeros(28, 28, 1)) / torch.log(torch.tensor(2.0))
        >>> bits.mean()
        tensor(1.)
    """

    couples_channels = False

    def __init__(self, channels: int, num_levels: int = 2) -> None:
        if num_levels != 2:
            raise ValueError(f"name=bernoulli: needs num_levels=2, not {num_levels}")
        super().__init__(channels, num_levels, num_params=channels)

    def _pixels(self, params: Tensor, temperature: float) -> BernoulliPixels:
        return BernoulliPixels(params / temperature)
