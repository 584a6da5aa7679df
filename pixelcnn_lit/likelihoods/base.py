"""The two interfaces: a likelihood (params → distribution) and the pixels it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints


class AbstractPixels(Distribution, ABC):
    """The levels of pixels: a batch of positions, whose events are the colours of one pixel.

    Every subclass has the attribute ``logits``, which says the dtype and the device. Shapes are
    checked, values are not: asking the device whether all are legal would make a GPU wait.

    Attributes:
        num_levels: how many levels a colour has.
        num_uniforms: how many uniform numbers ``quantile`` turns into one pixel.
    """

    logits: Tensor

    def __init__(
        self, batch_shape: Size, channels: int, num_levels: int, num_uniforms: int
    ) -> None:
        self.num_levels = num_levels
        self.num_uniforms = num_uniforms
        super().__init__(batch_shape, Size([channels]), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """None: parameters are not checked either."""
        return {}

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of whole pixels, in nats.

        Args:
            value: levels (…, C), integer or float, broadcast against the batch shape.

        Returns:
            (…,), float32, or float64 where the parameters are.

        Raises:
            ValueError: if the last axis does not hold the colours.
        """
        self._check_colors(value)
        return self._log_prob(value)

    def level_log_probs(self, color: int, levels: Tensor) -> Tensor:
        """Log-probability of every level of one colour, given the colours before it.

        The sum over the colours, each read at its own level, is ``log_prob`` (chain rule).

        Args:
            color: 0 … C−1.
            levels: (…, C); only ``levels[..., :color]`` is read.

        Returns:
            (…, num_levels) in nats, normalised.
        """
        self._check_colors(levels)
        batch_shape = torch.broadcast_shapes(levels.shape[:-1], self.batch_shape)
        return self._level_log_probs(color, levels).expand(*batch_shape, self.num_levels)

    def quantile(self, uniforms: Tensor) -> Tensor:
        """The inverse CDF: uniform numbers → pixels, deterministically.

        A level is hit by a share of the uniforms equal to its probability. The two ends of [0, 1)
        are moved inwards by half the spacing of ``torch.rand``: a uniform of exactly 0, which a
        float32 generator gives once in 2^24 draws, would mean −∞ otherwise: a stray black pixel.

        Args:
            uniforms: (…, num_uniforms) in [0, 1), broadcast against the batch shape.

        Returns:
            int64 levels (…, C).
        """
        dtype = self.logits.dtype
        eps = torch.finfo(dtype).eps
        return self._quantile(uniforms.to(dtype).clamp(eps / 4, 1 - eps / 2))

    def sample(self, sample_shape: Size | Sequence[int] = ()) -> Tensor:
        """Pixels drawn with torch's global generator.

        Returns:
            int64 levels (*sample_shape, *batch_shape, C).
        """
        shape = (*sample_shape, *self.batch_shape, self.num_uniforms)
        uniforms = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        return self.quantile(uniforms)

    @property
    def mode(self) -> Tensor:
        """The greedy pixel: colour by colour the most probable level, given those before it.

        Not always the most probable pixel, which would need all num_levels^C. Enumerates the
        levels, so it holds num_levels × (parameters of one colour) numbers per pixel.

        Returns:
            int64 levels (*batch_shape, C).
        """
        shape = (*self.batch_shape, *self.event_shape)
        levels = torch.zeros(shape, dtype=torch.int64, device=self.logits.device)
        for color in range(self.event_shape[0]):
            levels[..., color] = self._level_log_probs(color, levels).argmax(-1)
        return levels

    @abstractmethod
    def _log_prob(self, levels: Tensor) -> Tensor:
        """``log_prob`` of checked levels (…, C)."""

    @abstractmethod
    def _level_log_probs(self, color: int, levels: Tensor) -> Tensor:
        """``level_log_probs``, up to broadcasting of the leading axes."""

    @abstractmethod
    def _quantile(self, uniforms: Tensor) -> Tensor:
        """``quantile`` of uniforms strictly between 0 and 1, of the parameters' dtype."""

    def _check_colors(self, levels: Tensor) -> None:
        if levels.shape[-1:] != self.event_shape:
            channels = self.event_shape[0]
            raise ValueError(
                f"levels must be (…, {channels}), colours last, not {tuple(levels.shape)}"
            )


class AbstractLikelihood(ABC):
    """Turns a network's parameters into the distribution of the pixels; holds no weights.

    The one place where the channel axis moves to the end, and where half precision ends: under
    autocast the parameters arrive in 16 bits and the likelihood is computed in float32, without
    a matrix product, which autocast would round again.

    Attributes:
        channels: colours per pixel.
        num_levels: levels per colour.
        num_params: parameters per pixel that the network must give.
        couples_channels: whether the likelihood makes the colours of a pixel dependent. If so
            the network must not order them, and the other way round.

    Raises:
        ValueError: if ``channels`` < 1 or ``num_levels`` < 2.
    """

    couples_channels: ClassVar[bool]

    def __init__(self, channels: int, num_levels: int, num_params: int) -> None:
        if channels < 1:
            raise ValueError(f"channels must be at least 1, not {channels}")
        if num_levels < 2:
            raise ValueError(f"num_levels must be at least 2, not {num_levels}")
        self.channels = channels
        self.num_levels = num_levels
        self.num_params = num_params

    def __call__(self, params: Tensor, temperature: float = 1.0) -> AbstractPixels:
        """The distribution of the pixels.

        Args:
            params: (B, num_params, H, W), or (N, num_params) for single positions.
            temperature: above 0; divides logits and multiplies scales. 1 is the model itself,
                below 1 is sharper. ``mode`` is its limit at 0.

        Returns:
            Batch (B, H, W) or (N,), event (C,).

        Raises:
            ValueError: if the number of parameters is wrong or the temperature not positive.
        """
        if params.shape[1] != self.num_params:
            raise ValueError(
                f"{type(self).__name__} takes {self.num_params} params per pixel, "
                f"not {params.shape[1]}"
            )
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        if params.dtype in (torch.float16, torch.bfloat16):
            params = params.float()
        return self._pixels(params.movedim(1, -1), temperature)  # (B, H, W, num_params)

    @abstractmethod
    def _pixels(self, params: Tensor, temperature: float) -> AbstractPixels:
        """The distribution from params (…, num_params) in float32 or float64."""
