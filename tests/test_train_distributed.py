"""Two processes train like one on the same global batches."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# dropout 0: its random numbers are the one thing that must differ between processes
OPTIONS = [
    "logger=none",
    "model.num_filters=6",
    "model.num_logistic_mix=2",
    "model.dropout=0.0",
    "data.batch_size=128",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "callbacks.samples=null",
    "callbacks.progress=null",
]


def run(run_dir: Path, *options: str) -> dict[str, dict[int, float]]:
    """Trains in processes of its own; every metric by step."""
    command = [
        sys.executable,
        "-m",
        "pixelcnn_lit.train",
        *OPTIONS,
        f"run_dir={run_dir}",
        *options,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert ended.returncode == 0, ended.stderr
    metrics: dict[str, dict[int, float]] = {}
    with (run_dir / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value:
                    metrics.setdefault(name, {})[int(row["step"])] = float(value)
    return metrics


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    one = run(tmp_path / "one", "trainer=cpu")
    two = run(tmp_path / "two", "trainer=ddp_cpu")
    # 360 test images, 144 validation images: the last batches are short and the ranks uneven
    curves = ("train/bits_per_dim", "train/nats_per_dim", "gradient_norm")
    for name in (*curves, "val/bits_per_dim", "test/bits_per_dim", "test/nats_per_dim"):
        assert two[name] == pytest.approx(one[name], rel=1e-5), name
    assert len(one["gradient_norm"]) == 2 * 11
    files = {path.name for path in (tmp_path / "two").rglob("*") if path.is_file()}
    assert files == {path.name for path in (tmp_path / "one").rglob("*") if path.is_file()}
