"""Two processes train like one on the same global batches."""

from __future__ import annotations

from pathlib import Path

import forkserver
import pytest
import torch
from tiny_runs import begin_with, rows, run_on_two, train_with

from pixelcnn_lit.configuration import compose_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OPTIONS = [
    "logger=none",
    "model.network.num_filters=6",
    "data.batch_size=128",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "callbacks.samples=null",
    "callbacks.reconstructions=null",
    "callbacks.progress=null",
    "callbacks.curve=null",
]
# dropout 0: its random numbers are the one thing that must differ between processes
PP = ["model=pp", "model.likelihood.num_logistic_mix=2", "model.network.dropout=0.0"]
LAYERS = ["model.network.num_layers=2", "model.network.num_hidden=8"]
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=4"]


def metrics(run_dir: Path) -> dict[str, dict[int, float]]:
    """Every metric by step."""
    metrics: dict[str, dict[int, float]] = {}
    for row in rows(run_dir):
        for name, value in row.items():
            if value:
                metrics.setdefault(name, {})[int(row["step"])] = float(value)
    return metrics


@pytest.mark.parametrize(
    ("options", "num_steps", "started_by"),
    [
        pytest.param(PP, 2 * 11, "itself", id="pp"),
        pytest.param(["model=pixelcnn", *LAYERS, *SHORT], 4, "torchrun", id="pixelcnn"),
        pytest.param(["model=gated", *LAYERS, *SHORT], 4, "torchrun", id="gated"),
        pytest.param(["model=autoencoder", *LAYERS, *SHORT], 4, "torchrun", id="autoencoder"),
    ],
)
def test_two_processes_train_like_one(
    options: list[str], num_steps: int, started_by: str, tmp_path: Path
) -> None:
    """And none looks for parameters without a gradient, which would only hide them."""
    strategy = compose_config("train", ["trainer=ddp_cpu"]).trainer.strategy
    assert strategy.get("find_unused_parameters", False) is False
    train_with(OPTIONS, tmp_path / "one", "trainer=cpu", *options)
    on_two = [*OPTIONS, "trainer=ddp_cpu", *options]
    if started_by == "itself":
        ended = [forkserver.ended(begin_with(on_two, tmp_path / "two"))]
    else:
        command = ["-m", "pixelcnn_lit", "train", *on_two, f"run_dir={tmp_path / 'two'}"]
        ended = run_on_two(*command)
    assert [process.returncode for process in ended] == [0] * len(ended), ended
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    # 360 test images, 144 validation images: the last batches are short and the ranks uneven
    curves = ("train/bits_per_dim", "train/nats_per_dim", "gradient_norm")
    for name in (*curves, "val/bits_per_dim", "test/bits_per_dim", "test/nats_per_dim"):
        assert two[name] == pytest.approx(one[name], rel=1e-5), name
    assert len(one["gradient_norm"]) == num_steps
    files = {path.name for path in (tmp_path / "two").rglob("*") if path.is_file()}
    assert files == {path.name for path in (tmp_path / "one").rglob("*") if path.is_file()}


POISONED = """
import math, runpy
from pixelcnn_lit.models import LitPixelCNNPP
whole = LitPixelCNNPP.training_step
def poisoned(model, batch, index):
    bad = model.global_step == 13 and model.global_rank == 1
    return whole(model, batch, index) * (math.nan if bad else 1)
LitPixelCNNPP.training_step = poisoned
runpy.run_module("pixelcnn_lit", run_name="__main__")
"""


def test_a_loss_that_is_not_a_number_on_one_process_stops_all_before_a_checkpoint(
    tmp_path: Path,
) -> None:
    script, run_dir = tmp_path / "poisoned.py", tmp_path / "run"
    script.write_text(POISONED)
    options = [*OPTIONS, *PP, "trainer=ddp_cpu", f"run_dir={run_dir}"]
    ended = forkserver.run(str(script), "train", *options)
    assert ended.returncode == 1, ended.stderr
    [message] = [m for m in ended.stderr.splitlines() if m.startswith("error: ")]
    kept = run_dir / "bad_batch-rank1.pt"
    assert f"at step 13 (epoch 1, batch 2, kept in {kept})" in message
    assert torch.load(kept, weights_only=True)["image"].shape == (64, 1, 8, 8)
    assert not (run_dir / "bad_batch-rank0.pt").exists()
    for name in ("last", "best"):
        checkpoint = torch.load(run_dir / f"checkpoints/{name}.ckpt", weights_only=True)
        assert checkpoint["global_step"] == 11  # of the first epoch
