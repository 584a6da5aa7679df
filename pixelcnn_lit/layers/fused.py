"""Fused activations and gates: on a CPU, in one pass over memory, forward and backward.

What is elementwise costs a step of training as much as the convolutions do when each operation
passes over the features by itself; ``kernels.cpp`` does it in one pass. Where that cannot be
compiled, on other devices, in half precision and under ``torch.compile``, which fuses by itself,
the networks compute the plain formulas: ``serves`` says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pixelcnn_lit.layers import kernels
from pixelcnn_lit.layers.activation import Activation

Border = tuple[int, int, int, int]
"""Zeros to the left, to the right, above and below, in the order of ``F.pad``."""

_enabled = True


class Bordered(NamedTuple):
    """Feature maps within the zeros that a convolution reads around them.

    Attributes:
        maps: (B, F, above + H + below, left + W + right).
        border: how wide the zeros are.
    """

    maps: Tensor
    border: Border


def serves(x: Tensor) -> bool:
    """Whether maps like these are computed here; else the plain formulas are."""
    return (
        _enabled
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype in kernels.RUNNERS
        and kernels.available()
    )


def disable() -> None:
    """Computes plain formulas from now on."""
    global _enabled
    _enabled = False


@contextmanager
def disabled() -> Iterator[None]:
    """Computes plain formulas for a while."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def activate(
    x: Tensor, activation: Activation, border: Border, *more: Bordered, dropout: float = 0.0
) -> Bordered:
    """The activation of a sum of maps, within zeros, after dropping single values.

    Args:
        x: (B, F, H, W).
        activation: what is done.
        border: how many zeros to put around.
        more: summands within borders of their own, the values of which are not read.
        dropout: share of the values that become 0, in [0, 1), in steps of 1/65,536; the others
            are divided by the share that is kept. The numbers are a function of one that is drawn
            with torch's global generator.
    """
    dropped = min(max(round(dropout * 2**16), 1), 2**16 - 1) if dropout else 0
    seed = int(torch.randint(2**62, ())) if dropped else 0
    borders = [part.border for part in more]
    parts = [part.maps for part in more]
    maps = _Activate.apply(activation, border, dropped, seed, borders, x, *parts)
    return Bordered(maps, border)


def gate(
    x: Tensor, wide: Tensor, activation: Activation, border: Border
) -> tuple[Tensor, Bordered]:
    """A residual gate: y = x + a·σ(b), and the activation of y.

    Args:
        x: (B, F, H, W).
        wide: a, then b, (B, 2F, H, W).
        activation: of y.
        border: how many zeros to put around the activation.
    """
    y, maps = _Gate.apply(activation, border, x, wide)
    return y, Bordered(maps, border)


def tanh_gate(wide: Tensor, *more: Tensor) -> Tensor:
    """Tanh of the first half times σ of the second, of a sum of one or two maps.

    Each (B, 2F, H, W) to (B, F, H, W).
    """
    return _TanhGate.apply(wide, *more)


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        activation: Activation,
        border: Border,
        dropped: int,
        seed: int,
        borders: Sequence[Border],
        *parts: Tensor,
    ) -> Tensor:
        more = [number for border in borders for number in border]
        ctx.options = (activation.alpha, activation.doubled, border, more, dropped, seed)
        result = torch.ops.pixelcnn_lit.activate([_lines(x) for x in parts], *ctx.options)
        ctx.save_for_backward(result)
        return result.movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        [result], [gradient] = ctx.saved_tensors, gradients
        given = torch.ops.pixelcnn_lit.activate_backward(result, _lines(gradient), *ctx.options)
        return None, None, None, None, None, *(x.movedim(-1, 1) for x in given)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, activation: Activation, border: Border, x: Tensor, wide: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.options = (activation.alpha, activation.doubled, border)
        both = _lines(wide)
        y, result = torch.ops.pixelcnn_lit.gate(_lines(x), both, *ctx.options)
        ctx.save_for_backward(both, result)
        return y.movedim(-1, 1), result.movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (both, result), (of_y, of_result) = ctx.saved_tensors, gradients
        given = [None if g is None else _lines(g) for g in (of_result, of_y)]
        of_x, of_wide = torch.ops.pixelcnn_lit.gate_backward(result, both, *given, *ctx.options)
        return None, None, of_x.movedim(-1, 1), of_wide.movedim(-1, 1)


class _TanhGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        lines = [_lines(x) for x in parts]
        ctx.save_for_backward(*lines)
        return torch.ops.pixelcnn_lit.tanh_gate(lines).movedim(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        parts, [gradient] = list(ctx.saved_tensors), gradients
        of_wide = torch.ops.pixelcnn_lit.tanh_gate_backward(_lines(gradient), parts)
        return (of_wide.movedim(-1, 1),) * len(parts)


def _lines(maps: Tensor) -> Tensor:
    """(B, F, H, W) with the features last, and next to each other."""
    return maps.movedim(1, -1).contiguous()
