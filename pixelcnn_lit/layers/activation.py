"""Activations and gates of whole images, in few passes over memory and channels last.

What is elementwise costs a step of training as much as its convolutions do, so every pass over the
features counts. Each function here gives the values and the gradients of the plain formula beside
it; under ``torch.compile``, which fuses the plain formula by itself, that is what runs.
"""

from __future__ import annotations

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
            dropout: share of the values that become 0, in [0, 1), in steps of 2^-16; the others
                are divided by the share that is kept.
        """
        if torch.compiler.is_compiling():
            return Bordered(F.pad(F.dropout(self(x), dropout), border), border)
        batch, features, height, width = x.shape
        kept, scale = None, 1.0
        if dropout:
            kept, scale = _keep((batch, height, width, self.widening * features), dropout, x.device)
        return Bordered(_Activate.apply(x, self, border, kept, scale), border)


def gate(wide: Tensor) -> Tensor:
    """The first half of the features times σ of the second: (B, 2F, …) to (B, F, …)."""
    return F.glu(wide, 1) if torch.compiler.is_compiling() else _Gate.apply(wide)


def inside(maps: Tensor, border: Border) -> Tensor:
    """Feature maps without their border, (B, F, H, W); a gradient is 0 there."""
    return _inside(maps, border) if torch.compiler.is_compiling() else _Inside.apply(maps, border)


def _keep(shape: tuple[int, ...], dropout: float, device: torch.device) -> tuple[Tensor, float]:
    """Ones where a value is kept and zeros elsewhere, (B, H, W, F) uint8, and what to scale by.

    Random bytes are compared with a threshold, which costs a tenth of drawing Bernoulli numbers:
    those are drawn one after the other.
    """
    dropped = round(dropout * 256)
    num = torch.Size(shape).numel()
    words = torch.empty(-(-num // 8), dtype=torch.int64, device=device)
    numbers = words.random_(-(2**63), None).view(torch.uint8)[:num]
    kept = numbers.clamp_(dropped - 1, dropped).sub_(dropped - 1)
    return kept.view(shape).permute(0, 3, 1, 2), 256 / (256 - dropped)


def _inside(maps: Tensor, border: Border) -> Tensor:
    left, right, above, below = border
    height, width = maps.shape[2:]
    return maps[:, :, above : height - below, left : width - right]


def _empty_bordered(like: Tensor, features: int, border: Border) -> Tensor:
    """Room for maps (B, features, …) around ``like``, channels last; only its border is set."""
    left, right, above, below = border
    batch, _, height, width = like.shape
    shape = (batch, above + height + below, left + width + right, features)
    lines = like.new_empty(shape)
    edges = [lines[:, :above], lines[:, above + height :]]
    rows = lines[:, above : above + height]
    edges += [rows[:, :, :left], rows[:, :, left + width :]]
    for edge in edges:
        if edge.numel():
            edge.zero_()
    return lines.permute(0, 3, 1, 2)


class _Activate(torch.autograd.Function):
    """:meth:`Activation.bordered`: written once, into its place."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        activation: Activation,
        border: Border,
        kept: Tensor | None,
        scale: float,
    ) -> Tensor:
        features = x.shape[1]
        maps = _empty_bordered(x, activation.widening * features, border)
        room = _inside(maps, border)
        elu = torch.ops.aten.elu
        elu.out(x, activation.alpha, scale, out=room[:, :features])
        if activation.doubled:
            negative = torch.neg(x, out=room[:, features:])
            torch.ops.aten.elu_(negative, activation.alpha, scale)
        if kept is not None:
            room.mul_(kept)
        ctx.activation, ctx.border, ctx.kept, ctx.scale = activation, border, kept, scale
        ctx.save_for_backward(maps)
        return maps

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (maps,) = ctx.saved_tensors
        given, result = _inside(gradient, ctx.border), _inside(maps, ctx.border)
        inner = aten.elu_backward(given, ctx.activation.alpha, ctx.scale, 1, True, result)
        if ctx.kept is not None:
            inner.mul_(ctx.kept)
        if ctx.activation.doubled:
            positive, negative = inner.chunk(2, 1)
            inner = positive - negative
        return inner, None, None, None, None


class _Gate(torch.autograd.Function):
    """:func:`gate`, whose gradient torch would lay out channels first."""

    @staticmethod
    def forward(ctx: Any, wide: Tensor) -> Tensor:
        ctx.save_for_backward(wide)
        return F.glu(wide, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (wide,) = ctx.saved_tensors
        room = torch.empty_like(wide)
        return aten.glu_backward.grad_input(gradient, wide, 1, grad_input=room)


class _Inside(torch.autograd.Function):
    """:func:`inside`, whose gradient torch would copy twice."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, border: Border) -> Tensor:
        ctx.border = border
        return _inside(maps, border)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        maps = _empty_bordered(gradient, gradient.shape[1], ctx.border)
        _inside(maps, ctx.border).copy_(gradient)
        return maps, None
