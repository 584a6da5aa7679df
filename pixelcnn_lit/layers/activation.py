"""Activations and gates of whole images, in few passes over memory and channels last.

What is elementwise costs a step of training as much as its convolutions do, so every pass over the
features counts. Each function here gives the values and the gradients of the plain formula beside
it; under ``torch.compile``, which fuses the plain formula by itself, that is what runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten

Border = tuple[int, int, int, int]
"""Zeros to the left, to the right, above and below, in the order of ``F.pad``."""


class Bordered(NamedTuple):
    """Feature maps within the zeros that a convolution reads around them.

    Attributes:
        maps: (B, F, above + H + below, left + W + right).
        border: how wide the zeros are.
    """

    maps: Tensor
    border: Border

    @property
    def inside(self) -> Tensor:
        """The maps without their border, (B, F, H, W), a view."""
        return _inside(self.maps, self.border)


Active = Tensor | Bordered
"""Features after their activation: with a border on images, (N, F) on a walk."""


@dataclass(frozen=True)
class Activation:
    """ELU or ReLU, optionally of x and of −x side by side.

    All of them leave 0 at 0, so that zeros around the result are zeros around x.

    Source: Salimans et al. (2017), after Shang et al. (2016), concatenated ReLU.

    Attributes:
        alpha: of ELU; 0 is ReLU.
        doubled: whether the result holds x and −x, one behind the other: (B, 2F, …).
    """

    alpha: float
    doubled: bool

    @property
    def widening(self) -> int:
        """By how much it multiplies the features."""
        return 2 if self.doubled else 1

    def __call__(self, x: Tensor) -> Tensor:
        """(B, F, …) to (B, widening·F, …), the plain formula."""
        signed = torch.cat([x, -x], 1) if self.doubled else x
        return F.elu(signed, self.alpha) if self.alpha else F.relu(signed)

    def bordered(self, x: Tensor, border: Border, dropout: float = 0.0) -> Bordered:
        """The same within zeros, after dropping single values.

        Args:
            x: (B, F, H, W).
            border: how many zeros to put around.
            dropout: share of the values that become 0, in [0, 1), in steps of 1/65,536; the others
                are divided by the share that is kept.
        """
        if torch.compiler.is_compiling():
            return Bordered(F.pad(F.dropout(self(x), dropout), border), border)
        return Bordered(_Activate.apply(x, self, border, dropout), border)


def gate(wide: Tensor) -> Tensor:
    """The first half of the features times σ of the second: (B, 2F, …) to (B, F, …).

    Asked for with the features last: torch lays the gradient out as the question is put.
    """
    return F.glu(wide.movedim(1, -1), -1).movedim(-1, 1)


def inside(maps: Tensor, border: Border) -> Tensor:
    """Feature maps without their border, (B, F, H, W); a gradient is 0 there."""
    return _inside(maps, border) if torch.compiler.is_compiling() else _Inside.apply(maps, border)


def _kept_signs(shape: tuple[int, ...], dropout: float, x: Tensor) -> tuple[Tensor, float]:
    """What dropout multiplies x by, and what else it scales the result by.

    Random bytes are compared with a threshold: Bernoulli numbers, which torch draws one after the
    other, cost fifty times as much. Where 256 steps do not give the share, a value takes two.

    Returns:
        int8 of ``shape`` (B, H, W, widening, F): 0 where a value is dropped, elsewhere 1, or −1 in
        the half of −x; and 1 over the share that is kept.
    """
    dtype = torch.int8 if (256 * dropout).is_integer() else torch.int16
    steps = 2 ** (8 * dtype.itemsize)
    dropped = min(max(round(steps * dropout), 1), steps - 1)
    num, per_word = math.prod(shape), 8 // dtype.itemsize
    words = torch.empty(-(-num // per_word), dtype=torch.int64, device=x.device)
    words.random_(-(2**63), None)  # without a range the highest bit stays 0
    numbers = words.view(dtype)[:num].view(shape)
    last_dropped = dropped - 1 - steps // 2
    kept = numbers.clamp_(last_dropped, last_dropped + 1).sub_(last_dropped).to(torch.int8)
    kept[..., 1:, :].neg_()
    return kept, steps / (steps - dropped)


def _inside(maps: Tensor, border: Border) -> Tensor:
    left, right, above, below = border
    height, width = maps.shape[2:]
    return maps[:, :, above : height - below, left : width - right]


class _Activate(torch.autograd.Function):
    """:meth:`Activation.bordered`, written straight into its place."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, activation: Activation, border: Border, dropout: float
    ) -> Tensor:
        left, right, above, below = border
        batch, features, height, width = x.shape
        shape = (batch, above + height + below, left + width + right)
        lines = x.new_empty(*shape, activation.widening, features)
        rows = lines[:, above : above + height]
        room = rows[:, :, left : left + width]
        for edge in (
            lines[:, :above],
            lines[:, above + height :],
            rows[:, :, :left],
            rows[:, :, left + width :],
        ):
            if edge.numel():
                edge.zero_()
        alpha, pixels = activation.alpha, x.movedim(1, -1)
        kept, scale = None, 1.0
        if dropout:
            kept, scale = _kept_signs(tuple(room.shape), dropout, x)
            torch.mul(pixels.unsqueeze(3), kept, out=room)
            aten.elu_(room, alpha, scale)
        else:
            aten.elu.out(pixels, alpha, out=room[..., 0, :])
            if activation.doubled:
                aten.elu_(torch.neg(pixels, out=room[..., 1, :]), alpha)
        maps = lines.flatten(3).movedim(-1, 1)
        ctx.save_for_backward(maps, kept)
        ctx.activation, ctx.border, ctx.scale = activation, border, scale
        return maps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        maps, kept = ctx.saved_tensors
        given, result = (_inside(x, ctx.border).movedim(1, -1) for x in (*gradients, maps))
        inner = aten.elu_backward(given, ctx.activation.alpha, ctx.scale, 1, True, result)
        halves = inner.unflatten(-1, (ctx.activation.widening, -1)).unbind(3)
        if kept is None:
            total = halves[0] - halves[1] if ctx.activation.doubled else halves[0]
        else:
            signs = kept.unbind(3)
            total = halves[0] * signs[0]
            if ctx.activation.doubled:
                total.addcmul_(halves[1], signs[1])
        return total.movedim(-1, 1), None, None, None


class _Inside(torch.autograd.Function):
    """:func:`inside`, whose gradient torch would copy twice."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, border: Border) -> Tensor:
        ctx.border = border
        return _inside(maps, border)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return F.pad(gradients[0], ctx.border), None
