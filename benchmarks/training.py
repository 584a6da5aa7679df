"""How fast the variants train and evaluate, against the same models in plain layers.

    python benchmarks/training.py
    python benchmarks/training.py --cases pp digits --profile trace.json

Our models and those of ``textbook.py``, which have the same weights, take turns in one process, on
one thread and on all, so that a machine busy with other work slows both alike; a figure is the
median over the turns. A step is zero_grad, forward, loss, backward and Adam, without averaging and
logging; evaluation is ``log_prob`` without a gradient. What a step reads and writes is counted
without noise (``counting.py``). With a CUDA device the same again on it, in TF32, and with our
network compiled.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from contenders import (
    CASES,
    OURS,
    PLAIN,
    SEED,
    Case,
    Contender,
    Work,
    add_compiled,
    evaluate,
    prepare,
    train_step,
)
from counting import Counting, is_convolution
from rich.console import Console
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from pixelcnn_lit.training.folder import code_version

SECONDS = 2.5
"""How long the turns at one piece of work go on."""
FEWEST_TURNS = 3
MOST_SECONDS = 20.0
"""After which fewer turns do, for threads that share their cores with others may crawl."""
HEADER = ("model", "images", "work", "threads", "images/s", PLAIN, "times", "TFLOP/s")
ROW = "{:26}{:>15}{:>13}{:>9}{:>11}{:>10}{:>8}{:>10}"
COUNT_HEADER = ("model", "of a step", "conv MB", "other MB", "operations", "conv time", "peak MB")
COUNT_ROW = "{:26}{:>15}{:>13}{:>10}{:>12}{:>11}{:>10}"
AT_LEAST = {"pp": 1.4}
"""How many times the textbook's speed we hold a step to on a CPU."""


@dataclass(frozen=True)
class Counts:
    """What a step costs.

    Attributes:
        convolution_bytes: read and written by convolutions and matrix products.
        other_bytes: by everything else.
        num_operations: of both.
        peak_bytes: held at a time by tensors: weights, gradients, Adam's, activations.
    """

    convolution_bytes: int
    other_bytes: int
    num_operations: int
    peak_bytes: int


def main() -> None:
    """Print the tables of every device and the summary line."""
    start = time.perf_counter()
    arguments = parse()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(f"[bold]python {' '.join(sys.argv)}[/bold]")
    date = time.strftime("%Y-%m-%d")
    console.print(f"{code_version()}, torch {torch.__version__}, {date}, seed {SEED}")
    summary = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        summary += report(torch.device(device), arguments, console)
    console.print(f"{time.perf_counter() - start:.0f} s")
    console.print("; ".join(summary), soft_wrap=True)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE.json",
        help="write a trace of a step of each model, to FILE-CASE.json (chrome://tracing)",
    )
    return parser.parse_args()


def report(device: torch.device, arguments: argparse.Namespace, console: Console) -> list[str]:
    """Measure on a device, print its tables, and say what stands in the summary."""
    all_threads = torch.get_num_threads()
    on_cuda = device.type == "cuda"
    threads = [all_threads] if on_cuda else sorted({1, all_threads})
    for line in describe(device, threads):
        console.print(line)
    if on_cuda:
        torch.set_float32_matmul_precision("high")  # TF32, and that of convolutions is usual
    console.print(ROW.format(*HEADER))
    counted, summary = [], []
    for key in arguments.cases:
        case = CASES[key]
        if case.only_cuda and not on_cuda:
            continue
        contenders, images = prepare(case, device)
        counts = {name: count(contender, images) for name, contender in contenders.items()}
        flop = {work: num_flop(contenders[OURS], images, work) for work in (train_step, evaluate)}
        speeds = {}
        for number in threads:
            torch.set_num_threads(number)
            if on_cuda:
                add_compiled(contenders)
            for work in (train_step, evaluate):
                rates = images_per_second(contenders, images, work)
                speeds[work, number] = rates
                for row in speed_rows(case, images, work, number, rates, flop[work]):
                    console.print(ROW.format(*row))
        torch.set_num_threads(threads[0])
        for name in (OURS, PLAIN):
            trace = trace_file(arguments.profile, key) if name == OURS else None
            share = convolution_share(contenders[name], images, trace)
            counted.append(count_cells(case, name, counts[name], share))
        torch.set_num_threads(all_threads)
        summary += verdict(key, case, device, threads, speeds, counts)
    console.print(COUNT_ROW.format(*COUNT_HEADER))
    for cells in counted:
        console.print(COUNT_ROW.format(*cells))
    console.print(
        f"conv MB and other MB: read and written per image; conv time: on {threads[0]} threads;"
        f" peak: {'allocator' if on_cuda else 'living tensors'}; TFLOP/s of ours"
    )
    return summary


def images_per_second(
    contenders: dict[str, Contender], images: Tensor, work: Work, at_least: float = SECONDS
) -> dict[str, float]:
    """Of every contender the median over its turns, of which the first does not count."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        work(contender, images)
    begun = time.perf_counter()

    def goes_on() -> bool:
        passed, turns = time.perf_counter() - begun, len(spent[OURS])
        return passed < at_least or turns < (FEWEST_TURNS if passed < MOST_SECONDS else 1)

    while goes_on():
        for name, contender in contenders.items():
            synchronise(images.device)
            start = time.perf_counter()
            work(contender, images)
            synchronise(images.device)
            spent[name].append(time.perf_counter() - start)
    return {name: len(images) / statistics.median(times) for name, times in spent.items()}


def synchronise(device: torch.device) -> None:
    """Wait for a device that works on its own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count(contender: Contender, images: Tensor) -> Counts:
    """What the second step reads, writes and holds: the first makes the state of Adam."""
    train_step(contender, images)
    state = [v for values in contender.optimizer.state.values() for v in values.values()]
    resident = [*contender.model.parameters(), *filter(torch.is_tensor, state), images]
    contender.optimizer.zero_grad()
    with Counting(resident) as counted:
        train_step(contender, images)
    peak = counted.peak_bytes
    if images.device.type == "cuda":
        contender.optimizer.zero_grad()
        torch.cuda.reset_peak_memory_stats(images.device)
        before = torch.cuda.memory_allocated(images.device) - num_bytes(resident)
        train_step(contender, images)
        peak = torch.cuda.max_memory_allocated(images.device) - before  # without the others'
    return Counts(
        counted.convolution_bytes,
        counted.other_bytes,
        counted.num_operations,
        peak,
    )


def num_flop(contender: Contender, images: Tensor, work: Work) -> int:
    """Floating-point operations of the convolutions and matrix products."""
    with FlopCounterMode(display=False) as counted:
        work(contender, images)
    return counted.get_total_flops()


def num_bytes(tensors: Iterable[Tensor]) -> int:
    """What the tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def convolution_share(contender: Contender, images: Tensor, trace: Path | None) -> float:
    """The share of a step's time that its convolutions and matrix products take, in [0, 1]."""
    on_cuda = images.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities, acc_events=True) as profiler:
        train_step(contender, images)
        synchronise(images.device)
    if trace:
        profiler.export_chrome_trace(str(trace))
    total = convolutions = 0.0
    for event in profiler.key_averages():
        if on_cuda and not event.key.startswith("aten::"):
            continue  # kernels, which belong to the operations
        spent = event.self_device_time_total if on_cuda else event.self_cpu_time_total
        total += spent
        if event.key.startswith("aten::") and is_convolution(event.key.removeprefix("aten::")):
            convolutions += spent
    return convolutions / total


def trace_file(profile: Path | None, key: str) -> Path | None:
    """Where the trace of a case goes."""
    return profile and profile.with_stem(f"{profile.stem}-{key}")


def speed_rows(
    case: Case, images: Tensor, work: Work, threads: int, rates: dict[str, float], flop: int
) -> list[list[str]]:
    """Rows of the first table: ours, and if there is one our compiled model."""
    channels, height, width = images.shape[1:]
    return [
        [
            case.name if name == OURS else f"  {name}",
            f"{len(images)} of {height}×{width}×{channels}",
            "step" if work is train_step else "evaluation",
            str(threads),
            f"{rate:,.1f}",
            f"{rates[PLAIN]:,.1f}",
            f"{rate / rates[PLAIN]:.2f}",
            f"{flop / len(images) * rate / 1e12:.3f}",
        ]
        for name, rate in rates.items()
        if name != PLAIN
    ]


def count_cells(case: Case, name: str, counts: Counts, share: float) -> list[str]:
    """A row of the second table."""
    return [
        case.name,
        name,
        f"{counts.convolution_bytes / case.batch_size / 1e6:,.1f}",
        f"{counts.other_bytes / case.batch_size / 1e6:,.1f}",
        f"{counts.num_operations:,}",
        f"{share:.0%}",
        f"{counts.peak_bytes / 1e6:,.0f}",
    ]


def verdict(
    key: str,
    case: Case,
    device: torch.device,
    threads: list[int],
    speeds: dict[tuple[Work, int], dict[str, float]],
    counts: dict[str, Counts],
) -> list[str]:
    """What the summary line says of a case: a step, and on a CPU of the first case more."""
    ratios = [speeds[train_step, n][OURS] / speeds[train_step, n][PLAIN] for n in threads]
    times = " and ".join(f"{ratio:.2f}" for ratio in ratios)
    least = AT_LEAST.get(key) if device.type == "cpu" else None
    held = "" if least is None else f" ({'≥' if min(ratios) >= least else '< (!)'} {least})"
    said = f"{key} on {device.type}: {times} times the textbook's step{held}"
    if least is not None:
        ours = counts[OURS]
        megabytes = ours.other_bytes / case.batch_size / 1e6
        said += f", {megabytes:.0f} MB per image beside convolutions"
        said += f", {ours.num_operations:,} operations"
    return [said]


def describe(device: torch.device, threads: list[int]) -> list[str]:
    """The machine, and the fastest it can: a large matrix product."""
    if device.type == "cuda":
        kinds = {
            "float32": ("highest", torch.float32),
            "TF32": ("high", torch.float32),
            "bfloat16": ("high", torch.bfloat16),
        }
        ceilings = []
        for name, (precision, dtype) in kinds.items():
            torch.set_float32_matmul_precision(precision)
            ceilings.append(f"{matrix_product(8192, dtype, device):.1f} TFLOP/s {name}")
        torch.set_float32_matmul_precision("highest")
        return [f"CUDA: {torch.cuda.get_device_name()}", "matrix product: " + ", ".join(ceilings)]
    before, ceilings = torch.get_num_threads(), []
    for number in threads:
        torch.set_num_threads(number)
        speed = matrix_product(2048, torch.float32, device)
        ceilings.append(f"{speed:.3f} TFLOP/s on {number} threads")
    torch.set_num_threads(before)
    return [
        f"CPU: {os.cpu_count()} cores ({platform.machine()}, {platform.system()}, "
        f"{torch.backends.cpu.get_cpu_capability()}), load average {os.getloadavg()[0]:.1f} "
        "(a busy machine misleads)",
        "matrix product: " + ", ".join(ceilings),
    ]


def matrix_product(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """TFLOP/s of multiplying two square matrices, the fastest of five."""
    a = torch.randn(size, size, device=device).to(dtype)
    spent = []
    for _ in range(6):
        synchronise(device)
        start = time.perf_counter()
        a @ a
        synchronise(device)
        spent.append(time.perf_counter() - start)
    return 2 * size**3 / min(spent[1:]) / 1e12


if __name__ == "__main__":
    main()
