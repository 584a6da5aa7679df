"""The functions of kernels.cpp as operations of torch, so that profiles and counts name them.

They are compiled by the C++ compiler of the machine (``CXX``, else ``c++``) when they are first
needed, in a few seconds, as ``torch.compile`` does with its own, and kept in
``$XDG_CACHE_HOME/pixelcnn_lit``. Maps have the features last, (B, H, W, F), and lie contiguously.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.cpp")
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


def available() -> bool:
    """Whether there is a compiler, which is asked to compile if it has not been so far."""
    return _library() is not None


def _activate(
    parts: Sequence[Tensor],
    alpha: float,
    doubled: bool,
    border: Sequence[int],
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
    border: Sequence[int],
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
    x: Tensor, both: Tensor, alpha: float, doubled: bool, border: Sequence[int]
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
    border: Sequence[int],
) -> tuple[Tensor, Tensor]:
    of_wide = torch.empty_like(both)
    of_x = both.new_empty(*both.shape[:-1], both.shape[-1] // 2)
    ints = [*of_x.shape, *border, 1, doubled, 0, 0]
    _run(3, ints, (alpha, 1.0), [of_x, of_wide, result, both, of_result, of_y])
    return of_x, of_wide


def _tanh_gate(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) > 2:
        raise ValueError(f"one or two maps, not {len(parts)}")
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
    library, first = _library(), arrays[0]
    assert library is not None
    assert first is not None
    for x in arrays:  # what lies behind a pointer nobody checks
        if x is not None and not (x.is_contiguous() and x.dtype == first.dtype and x.is_cpu):
            raise ValueError(f"arrays of {first.dtype} on the CPU, contiguous, not {x.dtype}")
    num_threads = torch.get_num_threads() if first.numel() > 2**14 else 1
    getattr(library, RUNNERS[first.dtype])(
        which,
        num_threads,
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


def trouble() -> str:
    """Why the functions cannot be had, in the words of the compiler; empty if they can."""
    return _load()[1]


def _library() -> ctypes.CDLL | None:
    return _load()[0]


@cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    """The compiled functions, or None and the reason."""
    instructions = INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())
    compiler = os.environ.get("CXX") or "c++"
    said = ""
    with ExitStack() as stack:
        try:
            command = [*shlex.split(compiler), *FLAGS, *instructions]
            usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        except (RuntimeError, ValueError) as error:  # no home; a quotation mark without its other
            return None, str(error)
        for options, make_folder in product(
            [OPENMP, ()],  # not every compiler has the library
            [
                lambda: usual / "pixelcnn_lit",
                lambda: Path(stack.enter_context(tempfile.TemporaryDirectory())),
            ],
        ):
            try:
                return ctypes.CDLL(str(_compiled([*command, *options], make_folder()))), ""
            except OSError as error:  # no compiler, or no right to write there
                said = str(error)
            except subprocess.CalledProcessError as error:
                said = (error.stderr.strip().splitlines() or [str(error)])[-1]
    return None, said


def _compiled(command: Sequence[str], folder: Path) -> Path:
    """The compiled file, of which the folder keeps one for every source and command."""
    content = " ".join([platform.machine(), *command]).encode() + SOURCE.read_bytes()
    path = folder / f"kernels-{hashlib.sha256(content).hexdigest()[:16]}.so"
    if not path.exists():
        _compile(command, path)
    return path


def _compile(command: Sequence[str], path: Path) -> None:
    """Under another name first: another process may be at it, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        subprocess.run(
            [*command, str(SOURCE), "-o", str(made)], check=True, capture_output=True, text=True
        )
        made.rename(path)
