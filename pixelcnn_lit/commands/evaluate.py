"""Measure a checkpoint: exact bits/dim over a split, in float32, with its averaged weights.

Examples:
    pixelcnn-lit evaluate checkpoint=runs/pp-digits/… split=val
    pixelcnn-lit evaluate checkpoint=best.ckpt data=cifar10 max_images=1000
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from pixelcnn_lit import configuration
from pixelcnn_lit.configuration.run_data import build_data
from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.messages import check_at_least, duration, print_table
from pixelcnn_lit.models import AbstractLitModel, load_model
from pixelcnn_lit.models.loading import torch_device
from pixelcnn_lit.progress import progress


@dataclass(frozen=True)
class EvaluateOptions:
    """What conf/evaluate.yaml has beside the data.

    Args:
        checkpoint: a checkpoint, or a run folder: its best one, or the last if nothing was
            validated.
        split: of the data.
        max_images: only the first so many; null for all.
        device: where to compute.
    """

    checkpoint: str
    split: Split
    max_images: int | None
    device: Literal["cpu", "gpu"]

    def __post_init__(self) -> None:
        check_at_least("max_images", self.max_images, 1)


def evaluate(config: DictConfig) -> None:
    """Measures the checkpoint and prints a table; ± is the standard error over the images.

    Raises:
        OptionError: naming the option that cannot be met.
    """
    options = configuration.read_options(EvaluateOptions, config)
    model = load_model(options.checkpoint).to(torch_device(options.device))
    data = build_data(config, model)
    start = time.perf_counter()
    log_prob = torch.cat(list(log_probs(model, data, options.split, options.max_images)))
    seconds = time.perf_counter() - start
    print_table(summary_table(log_prob, model.num_dims, options, seconds))


@torch.no_grad()
def log_probs(
    model: AbstractLitModel, data: AbstractImageDataModule, split: Split, max_images: int | None
) -> Iterator[Tensor]:
    """Nats of every image of a split, batch by batch, float32 (B,) on the CPU.

    Raises:
        OptionError: if the split is empty.
    """
    loader = data.whole_split(split)
    key = model.condition.batch_key
    remaining = max_images
    with progress("Measuring", len(loader), "batches") as advance:
        for batch in loader:
            images = batch["image"][:remaining].to(model.device)
            cond = None if key is None else batch[key][:remaining].to(model.device)
            yield model.log_prob(images, cond).cpu()
            advance(1)
            if remaining is not None:
                remaining -= len(images)
                if remaining == 0:
                    return


def summary_table(
    log_prob: Tensor, num_dims: int, options: EvaluateOptions, seconds: float
) -> Table:
    """What the images cost, per dimension and per image.

    Args:
        log_prob: nats per image, (N,).
        num_dims: C·H·W.
        options: what was measured.
        seconds: how long it took.
    """
    nats, in_bits = -log_prob.double(), num_dims * math.log(2)
    mean = nats.mean().item()
    error = nats.std().item() / math.sqrt(len(nats)) if len(nats) > 1 else math.nan
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("checkpoint", escape(options.checkpoint))
    table.add_row(f"{options.split} bits/dim", f"{mean / in_bits:.4f} ± {error / in_bits:.4f}")
    table.add_row("nats/dim", f"{mean / num_dims:.4f}")
    table.add_row("nats/image", f"{mean:.2f} ± {error:.2f}")
    speed = f"{len(log_prob) / seconds:,.0f} images/s"
    table.add_row("images", f"{len(log_prob):,} in {duration(seconds)}, {speed}")
    return table


COMMAND = configuration.Command(evaluate, EvaluateOptions, __doc__)
