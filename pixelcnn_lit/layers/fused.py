"""Fused activations and gates: on a CPU, in one pass over memory, forward and backward.

What is elementwise costs a step of training as much as the convolutions do when each operation
passes over the features by itself. ``fused.cpp`` does it in one pass. It is compiled by the C++
compiler of the machine (``CXX``, else ``c++``) when it is first needed, in about a second, as
``torch.compile`` does with its own, and kept in ``$XDG_CACHE_HOME/pixelcnn_lit``. Where there is no
compiler, on other devices, in half precision and under ``torch.compile``, which fuses by itself,
the networks compute the plain formulas; ``serves`` says which.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pixelcnn_lit.layers.activation import Activation

Border = tuple[int, int, int, int]
"""Zeros to the left, to the right, above and below, in the order of ``F.pad``."""

SOURCE = Path(__file__).with_name("fused.cpp")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
INSTRUCTIONS = {
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": (
        *("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"),
        "-mprefer-vector-width=512",
    ),
}
"""By what torch finds on the machine: a cache folder may serve several kinds of machines."""
OPENMP = () if sys.platform == "darwin" else ("-fopenmp",)  # torch's own threads: the same library
RUNNERS = {torch.float32: "run_float", torch.float64: "run_double"}

_enabled = True


class Bordered(NamedTuple):
    """Feature maps within the zeros that a convolution reads around them.

    Attributes:
        maps: (B, F, above + H + below, left + W + right).
        border: how wide the zeros are.
    """

    maps: Tensor
    border: Border


def available() -> bool:
    """Whether there is a compiler, which is asked to compile if it has not been so far."""
    return _library() is not None


def serves(x: Tensor) -> bool:
    """Whether maps like these are computed here; else the plain formulas are."""
    return (
        _enabled
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype in RUNNERS
        and available()
    )


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


# operations of torch, so that profiles and counts name them


def _activate(
    parts: Sequence[Tensor],
    alpha: float,
    doubled: bool,
    border: Border,
    borders: Sequence[int],
    dropped: int,
    seed: int,
) -> Tensor:
    first = parts[0]
    result = first.new_empty(_bordered(first, border, 2 if doubled else 1))
    ints = [*first.shape, *border, len(parts), doubled, dropped, seed, *borders]
    _run(0, ints, (alpha, _scale(dropped)), [result, *parts])
    return result


def _activate_backward(
    result: Tensor,
    gradient: Tensor,
    alpha: float,
    doubled: bool,
    border: Border,
    borders: Sequence[int],
    dropped: int,
    seed: int,
) -> list[Tensor]:
    left, right, above, below = border
    batch, height, width, wide = result.shape
    features = wide // 2 if doubled else wide
    inner = result.new_empty(batch, height - above - below, width - left - right, features)
    more = [
        result.new_empty(_bordered(inner, border))
        for border in zip(*[iter(borders)] * 4, strict=True)
    ]
    ints = [*inner.shape, *border, 1 + len(more), doubled, dropped, seed, *borders]
    _run(1, ints, (alpha, _scale(dropped)), [result, gradient, inner, *more])
    return [inner, *more]


def _gate(
    x: Tensor, both: Tensor, alpha: float, doubled: bool, border: Border
) -> tuple[Tensor, Tensor]:
    result = x.new_empty(_bordered(x, border, 2 if doubled else 1))
    y = torch.empty_like(x)
    _run(2, [*x.shape, *border, 1, doubled, 0, 0], (alpha, 1.0), [result, y, x, both])
    return y, result


def _gate_backward(
    result: Tensor,
    both: Tensor,
    of_result: Tensor | None,
    of_y: Tensor | None,
    alpha: float,
    doubled: bool,
    border: Border,
) -> tuple[Tensor, Tensor]:
    of_wide = torch.empty_like(both)
    of_x = both.new_empty(*both.shape[:-1], both.shape[-1] // 2)
    ints = [*of_x.shape, *border, 1, doubled, 0, 0]
    _run(3, ints, (alpha, 1.0), [of_x, of_wide, result, both, of_result, of_y])
    return of_x, of_wide


def _tanh_gate(parts: Sequence[Tensor]) -> Tensor:
    *outer, wide = parts[0].shape
    result = parts[0].new_empty(*outer, wide // 2)
    _run(4, [result.numel() // (wide // 2), wide // 2, len(parts)], (), [result, *parts])
    return result


def _tanh_gate_backward(gradient: Tensor, parts: Sequence[Tensor]) -> Tensor:
    result = torch.empty_like(parts[0])
    wide = result.shape[-1]
    ints = [result.numel() // wide, wide // 2, len(parts)]
    _run(5, ints, (), [result, gradient, *parts])
    return result


def _bordered(lines: Tensor, border: Sequence[int], widening: int = 1) -> tuple[int, ...]:
    """A shape with the border."""
    left, right, above, below = border
    batch, height, width, features = lines.shape
    return batch, above + height + below, left + width + right, widening * features


def _scale(dropped: int) -> float:
    return 2**16 / (2**16 - dropped)


def _run(
    which: int, ints: Sequence[int], reals: Sequence[float], arrays: Sequence[Tensor | None]
) -> None:
    library = _library()
    assert library is not None
    assert arrays[0] is not None
    assert all(x is None or x.is_contiguous() for x in arrays)
    getattr(library, RUNNERS[arrays[0].dtype])(
        which,
        (ctypes.c_int64 * len(ints))(*ints),
        (ctypes.c_double * len(reals))(*reals),
        (ctypes.c_void_p * len(arrays))(*[None if x is None else x.data_ptr() for x in arrays]),
    )


_operations = torch.library.Library("pixelcnn_lit", "DEF")
_OPTIONS = "float alpha, bool doubled, int[] border"
_MORE = "int[] borders, int dropped, int seed"
for _name, _function, _arguments in (
    ("activate", _activate, f"Tensor[] parts, {_OPTIONS}, {_MORE}) -> Tensor"),
    (
        "activate_backward",
        _activate_backward,
        f"Tensor result, Tensor gradient, {_OPTIONS}, {_MORE}) -> Tensor[]",
    ),
    ("gate", _gate, f"Tensor x, Tensor wide, {_OPTIONS}) -> (Tensor, Tensor)"),
    (
        "gate_backward",
        _gate_backward,
        f"Tensor result, Tensor wide, Tensor? of_result, Tensor? of_y, {_OPTIONS})"
        " -> (Tensor, Tensor)",
    ),
    ("tanh_gate", _tanh_gate, "Tensor[] parts) -> Tensor"),
    ("tanh_gate_backward", _tanh_gate_backward, "Tensor gradient, Tensor[] parts) -> Tensor"),
):
    _operations.define(f"{_name}({_arguments}")
    _operations.impl(_name, _function, "CPU")


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions, or None where there is no compiler."""
    instructions = INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())
    command = [os.environ.get("CXX") or "c++", *FLAGS, *OPENMP, *instructions]
    content = SOURCE.read_bytes()
    digest = hashlib.sha256(" ".join(command).encode() + content).hexdigest()[:16]
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    with tempfile.TemporaryDirectory() as spare:  # where the usual folder cannot be written to
        for folder in (usual / "pixelcnn_lit", Path(spare)):
            path = folder / f"fused-{digest}.so"
            try:
                if not path.exists():
                    _compile(command, path)
                return ctypes.CDLL(str(path))
            except (OSError, subprocess.CalledProcessError):
                continue
    return None


def _compile(command: Sequence[str], path: Path) -> None:
    """Under another name first: another process may be at it, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        subprocess.run([*command, str(SOURCE), "-o", str(made)], check=True, capture_output=True)
        made.rename(path)
