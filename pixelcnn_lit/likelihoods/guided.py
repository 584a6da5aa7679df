"""Guidance: from the unconditional distribution towards the conditional one and beyond.

Source: Ho and Salimans (2022), Classifier-Free Diffusion Guidance, §3.2, applied to the
distribution of every colour given those before it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pixelcnn_lit.likelihoods.base import AbstractPixels
from pixelcnn_lit.likelihoods.categorical import categorical_quantile, take


class GuidedPixels(AbstractPixels):
    """p(x) ∝ p₀(x)^(1−s) · p₁(x)^s, colour by colour, with p₀ unconditional and p₁ conditional.

    Enumerates the levels, so that it works for every likelihood and is normalised exactly.

    Args:
        conditional: the pixels given the condition.
        unconditional: the same pixels without it.
        guidance: s at least 0; 0 is unconditional, 1 conditional, above 1 beyond.
    """

    def __init__(
        self, conditional: AbstractPixels, unconditional: AbstractPixels, guidance: float
    ) -> None:
        self.conditional = conditional
        self.unconditional = unconditional
        self.guidance = guidance
        self.logits = conditional.logits
        channels = conditional.event_shape[0]
        super().__init__(conditional.batch_shape, channels, conditional.num_levels, channels)

    def _level_log_probs(self, color: int, levels: Tensor) -> Tensor:
        toward = self.conditional.level_log_probs(color, levels)
        start = self.unconditional.level_log_probs(color, levels)
        # p₁ may be 0 in float32 where p₀ is not and s·(−∞) − … is NaN: the lowest finite is enough
        lowest = torch.finfo(toward.dtype).min / 1e4
        toward, start = toward.clamp(min=lowest), start.clamp(min=lowest)
        return torch.log_softmax(start + self.guidance * (toward - start), -1)

    def _log_prob(self, levels: Tensor) -> Tensor:
        chosen = [
            take(self._level_log_probs(color, levels), levels[..., color].long())
            for color in range(self.event_shape[0])
        ]
        return torch.stack(chosen, -1).sum(-1)

    def _quantile(self, uniforms: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(uniforms.shape[:-1], self.batch_shape)
        levels = uniforms.new_zeros(*shape, self.event_shape[0], dtype=torch.int64)
        for color in range(self.event_shape[0]):
            logits = self._level_log_probs(color, levels)
            levels[..., color] = categorical_quantile(logits, uniforms[..., color])
        return levels
