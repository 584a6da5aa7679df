"""Training runs that are over in seconds, and what they leave."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning import LightningModule, Trainer

from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.training.run import train

TINY = [
    "trainer=cpu",
    "model.network.num_filters=4",
    "model.network.num_hierarchies=1",
    "model.likelihood.num_logistic_mix=2",
    "trainer.limit_val_batches=1",
    "callbacks.progress=null",
]


def train_with(options: Sequence[str], run_dir: Path, *overrides: str) -> float | None:
    """A run in this process; of two values for an option the last one counts."""
    return train(compose_config("train", [*options, f"run_dir={run_dir}", *overrides]))


def begin_with(
    options: Sequence[str],
    run_dir: Path,
    *overrides: str,
    environment: dict[str, str] | None = None,
    run_by: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """A run in a process of its own, whose errors can be read; ``run_by`` a command, if any."""
    command = [sys.executable, "-m", "pixelcnn_lit", "train", *options, f"run_dir={run_dir}"]
    return subprocess.Popen(
        [*run_by, *command, *overrides],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | (environment or {}),
    )  # fmt: skip


def rows(run_dir: Path) -> list[dict[str, str]]:
    """The table of a run's numbers."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_checkpoint(model: LightningModule, file: Path) -> Path:
    """A checkpoint as training writes it."""
    trainer = Trainer(accelerator="cpu", logger=False, barebones=True)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(file)
    return file
