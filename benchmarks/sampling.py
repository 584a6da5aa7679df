"""How long a batch of images takes: naive, cached, and in forward passes.

    python benchmarks/sampling.py

For every variant, at sizes that two CPU cores can bear: seconds of a forward pass, of drawing a
batch with the cached walk, and of drawing it naively, which is measured on a few pixels and
extrapolated. With a CUDA device the same again on it, and 256 CIFAR-sized images from PixelCNN++
as in the paper. The floor of the cached walk is one forward pass: it computes every activation
once, but in small pieces.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from torch import Tensor

from pixelcnn_lit.models import (
    AbstractLitModel,
    LitGatedPixelCNN,
    LitPixelCNN,
    LitPixelCNNAutoencoder,
    LitPixelCNNPP,
)
from pixelcnn_lit.sampling import walk_bytes
from pixelcnn_lit.training.folder import code_version

SEED = 0
NUM_NAIVE_PIXELS = 2
HEADER = ("model", "images", "forward s", "cached s", "naive s", "cached/forward",
          "naive/cached", "memory MB")  # fmt: skip
ROW = "{:26}{:>16}{:>11}{:>11}{:>11}{:>16}{:>14}{:>11}"
MOST_FORWARD_PASSES = {"PixelCNN++ 5/128/5": 4, "PixelCNN++ 2/64/5": 6}
"""What we hold the cached walk to on a CPU."""


@dataclass(frozen=True)
class Case:
    """A model and how many images it draws at a time."""

    name: str
    build: Callable[[], AbstractLitModel]
    batch_size: int = 16
    only_cuda: bool = False


@dataclass(frozen=True)
class Costs:
    """Seconds per batch, and bytes.

    ``cached`` is the whole of drawing, ``naive`` an extrapolation from a few pixels. ``memory`` is
    what the walk keeps on a CPU (image, layers' inputs, weights as matrices), and the peak of all
    tensors on CUDA.
    """

    forward: float
    cached: float
    naive: float
    memory: int


GREY = {"channels": 1, "num_levels": 256, "image_size": [28, 28]}
RGB = {"channels": 3, "num_levels": 256, "image_size": [32, 32]}
FIVE_LOGISTICS = {"name": "logistic_mixture", "num_logistic_mix": 5}
STACK = {"network": {"num_layers": 5, "num_filters": 64, "num_hidden": 128}}

CASES = [
    Case(
        "PixelCNN++ 5/128/5",
        lambda: LitPixelCNNPP(
            **GREY, network={"num_resnet": 5, "num_filters": 128}, likelihood=FIVE_LOGISTICS
        ),
    ),
    Case(
        "PixelCNN++ 2/64/5",
        lambda: LitPixelCNNPP(
            **GREY, network={"num_resnet": 2, "num_filters": 64}, likelihood=FIVE_LOGISTICS
        ),
    ),
    Case("PixelCNN 5/64", lambda: LitPixelCNN(**GREY, **STACK)),
    Case("Gated PixelCNN 5/64", lambda: LitGatedPixelCNN(**GREY, **STACK)),
    Case(
        "PixelCNN autoencoder 5/64",
        lambda: LitPixelCNNAutoencoder(**GREY, **STACK, latent_dim=10),
    ),
    Case(
        "PixelCNN++ 1/32/5",
        lambda: LitPixelCNNPP(
            channels=3, num_levels=256, image_size=[64, 64],
            network={"num_resnet": 1, "num_filters": 32}, likelihood=FIVE_LOGISTICS,
        ),
        batch_size=4,
    ),
    Case("PixelCNN++ 5/160/10", lambda: LitPixelCNNPP(**RGB), batch_size=256, only_cuda=True),
]  # fmt: skip


def main() -> None:
    """Print the table of every device and the summary line."""
    start = time.perf_counter()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"[bold]python {' '.join(sys.argv)}[/bold]", highlight=False)
    console.print(f"{code_version()}, torch {torch.__version__}, seed {SEED}", highlight=False)
    summary = []
    for device in devices:
        console.print(describe(device), highlight=False)
        console.print(ROW.format(*HEADER), highlight=False)
        for case in CASES:
            if case.only_cuda and device == "cpu":
                continue
            model = prepare(case, torch.device(device))
            costs = measure(model, case.batch_size)
            console.print(ROW.format(*cells(case, model, costs)), highlight=False)
            summary += verdict(case, model, costs, device)
    console.print("naive: measured on", NUM_NAIVE_PIXELS, "pixels and extrapolated to all")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"process: {peak:,.0f} MB at its peak, {time.perf_counter() - start:.0f} s")
    console.print("; ".join(summary), highlight=False, soft_wrap=True)


def prepare(case: Case, device: torch.device) -> AbstractLitModel:
    """The model with random weights: what they are does not change what they cost."""
    torch.manual_seed(SEED)
    return case.build().to(device).eval()


@torch.no_grad()
def measure(model: AbstractLitModel, batch_size: int) -> Costs:
    """All costs of a batch.

    Forward passes are timed between the rows of the cached walk, so that a machine busy with other
    work slows both alike.
    """
    device = model.device
    x = torch.zeros(batch_size, *model.image_shape, device=device)
    size = model.network.cond_channels
    cond = torch.zeros(batch_size, size, device=device) if size else None
    height, width = model.image_size
    passes: list[float] = []

    def time_a_pass(images: Tensor, row: int) -> None:
        if row in (height // 4, height // 2, height):
            synchronise(device)
            passes.append(seconds(lambda: model.network(x, cond), device))

    def draw() -> None:
        generator = torch.Generator().manual_seed(SEED)
        model.sample(
            batch_size, cond, generator=generator, batch_size=batch_size, on_row=time_a_pass
        )

    model.network(x, cond)  # the first pass of a process is slower
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    cached = seconds(draw, device) - sum(passes)
    memory = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else walk_bytes(model.pixel_model, batch_size)
    )
    pixels = seconds(lambda: [model.network(x, cond) for _ in range(NUM_NAIVE_PIXELS)], device)
    naive_seconds = pixels / NUM_NAIVE_PIXELS * height * width
    return Costs(sum(passes) / len(passes), cached, naive_seconds, memory)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait for a device that works on its own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cells(case: Case, model: AbstractLitModel, costs: Costs) -> list[str]:
    """A row of the table."""
    channels, height, width = model.image_shape
    return [
        case.name,
        f"{case.batch_size} of {height}×{width}×{channels}",
        f"{costs.forward:.3f}",
        f"{costs.cached:.2f}",
        f"{costs.naive:,.0f}",
        f"{costs.cached / costs.forward:.2f}",
        f"{costs.naive / costs.cached:,.0f}",
        f"{costs.memory / 1e6:,.0f}",
    ]


def verdict(case: Case, model: AbstractLitModel, costs: Costs, device: str) -> list[str]:
    """What the summary line says of a case."""
    channels, height, width = model.image_shape
    drawn = f"{case.name} {height}×{width}×{channels} batch {case.batch_size}"
    if case.only_cuda:
        return [f"{drawn}: {costs.cached:.2f} s on {device}"]
    most = MOST_FORWARD_PASSES.get(case.name)
    if most is None or device != "cpu":
        return []
    passes = costs.cached / costs.forward
    return [f"{drawn}: {passes:.2f} {'≤' if passes <= most else '> (!)'} {most} forward passes"]


def describe(device: str) -> str:
    """The machine."""
    if device == "cuda":
        return f"CUDA: {torch.cuda.get_device_name()}"
    load = os.getloadavg()[0]
    return (
        f"CPU: {os.cpu_count()} cores ({platform.machine()}, {platform.system()}), "
        f"{torch.get_num_threads()} threads, load average {load:.1f} (a busy machine misleads)"
    )


if __name__ == "__main__":
    main()
