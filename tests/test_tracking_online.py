"""The real W&B client against a server that works, dies in mid-run, or does not know the key."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import forkserver
import pytest
import torch
import wandb
from tiny_runs import TINY, begin_with, rows
from wandb_server import Failure, WandbServer

from pixelcnn_lit.loggers.wandb_tracker import WandbTracker

OPTIONS = [
    *TINY,
    "data.batch_size=32",
    "trainer.limit_test_batches=1",
    "trainer.log_every_n_steps=1",
    "callbacks.samples.num_rows=1",
    "callbacks.samples.num_columns=2",
    "callbacks.curve=null",
    "logger.wandb.finish_timeout=5",
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server that the client of this process and its children knows as W&B."""
    wandb.teardown()
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
    wandb.teardown()


def said_of_wandb(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "W&B" in line or "wandb" in line]


def test_numbers_configuration_pictures_and_checkpoint_reach_the_server(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = WandbTracker(str(tmp_path), name="a name", group="a group", tags=["pp"])
    tracker.log_config({"model": {"num_filters": 4}})
    for step in range(3):
        tracker.log_metrics({"train/bits_per_dim": 4.0 - step}, step)
    tracker.log_picture("samples", torch.zeros(2, 3, 3, dtype=torch.uint8), 2)
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    tracker.upload_checkpoint(tmp_path / "best.ckpt")
    tracker.close(finished=True)

    curve = {r["trainer/global_step"]: r.get("train/bits_per_dim") for r in server.history[:3]}
    assert curve == {0: 4.0, 1: 3.0, 2: 2.0}
    assert server.config["model"] == {"num_filters": 4}
    assert server.tags == ["pp"]
    assert set(server.runs) == {(tmp_path / "wandb_run_id").read_text()}
    assert [a["artifactTypeName"] for a in server.artifacts] == ["model"]
    assert server.files["artifact/best.ckpt"] == b"weights"
    assert any(name.startswith("media/images/samples") for name in server.files)
    assert server.exit_code == 0
    said = said_of_wandb(capfd.readouterr().err)
    assert len(said) == 1
    assert said[0].startswith(f"W&B: {server.url}/someone/pixelcnn-lit/runs/")


def test_a_key_that_the_server_does_not_know_leaves_the_run_offline(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.fail("unauthorized")
    tracker = WandbTracker(str(tmp_path), init_timeout=5)
    tracker.log_metrics({"a": 1.0}, 0)
    tracker.close(finished=True)
    unreached, kept = said_of_wandb(capfd.readouterr().err)
    assert unreached.startswith("W&B: cannot be reached, going on offline (")
    assert kept.startswith("W&B: kept offline; send it with `wandb sync ")


@pytest.mark.slow
def test_a_run_on_the_server_has_the_curves_of_its_folder(
    server: WandbServer, tmp_path: Path
) -> None:
    process = begin_with(
        OPTIONS, tmp_path / "run", "trainer.max_epochs=1", "trainer.limit_train_batches=3"
    )
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    for name in ("train/bits_per_dim", "val/bits_per_dim", "test/bits_per_dim"):
        sent = [float(str(row[name])) for row in server.history if name in row]
        kept = [float(row[name]) for row in rows(tmp_path / "run") if row[name]]
        assert sent == pytest.approx(kept)
        assert sent
    best = (tmp_path / "run/checkpoints/best.ckpt").read_bytes()
    assert server.files["artifact/best.ckpt"] == best
    assert len(said_of_wandb(said)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["refuses", "silent"])
def test_a_server_lost_in_mid_run_is_told_in_one_line_and_sent_to_later(
    failure: Failure, server: WandbServer, tmp_path: Path
) -> None:
    options = ["trainer.max_epochs=3", "trainer.limit_train_batches=20"]
    process = begin_with(OPTIONS, tmp_path / "run", *options, "logger.wandb.upload_timeout=20")
    while not server.runs and process.poll() is None:
        time.sleep(0.05)
    server.fail(failure)
    _, said = process.communicate(timeout=200)  # it waits 20 s for the upload, 5 s at the end
    assert process.returncode == 0, said
    assert "Traceback" not in said
    link, lost = said_of_wandb(said)
    assert link.startswith("W&B: http")
    [folder] = (tmp_path / "run/wandb").glob("run-*")
    assert "best.ckpt was not uploaded" in lost
    assert "Timed out finishing run" in lost
    assert lost.endswith(f"`wandb sync --include-online {folder}` sends what is missing")
    kept = [
        float(r["train/bits_per_dim"]) for r in rows(tmp_path / "run") if r["train/bits_per_dim"]
    ]
    assert len(kept) == 60
    assert rows(tmp_path / "run")[-1]["test/bits_per_dim"]

    with WandbServer() as later:
        command = ["-m", "wandb", "sync", "--include-online", str(folder)]
        synced = forkserver.run(*command, env=os.environ | later.environment)
        assert synced.returncode == 0, synced.stderr
        assert later.runs[0] == (tmp_path / "run/wandb_run_id").read_text()
        sent = [
            float(str(r["train/bits_per_dim"])) for r in later.history if "train/bits_per_dim" in r
        ]
        assert sent == pytest.approx(kept)
