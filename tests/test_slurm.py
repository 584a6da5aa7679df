"""Training as a job of a real SLURM: two virtual nodes, real daemons, the real sbatch script."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixelcnn_lit.checkpoints import global_step

ROOT = Path(__file__).parents[1]
MISSING = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs slurm-wlm and munge (no {', '.join(MISSING)})"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the daemons of SLURM"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands reach the test cluster."""
    folder = str(tmp_path_factory.mktemp("slurm"))
    script = str(ROOT / "slurm/test_cluster.sh")
    subprocess.run([script, "start", folder], check=True)
    try:
        said = subprocess.run([script, "env", folder], check=True, capture_output=True, text=True)
        variables = dict(line.split("=", 1) for line in said.stdout.splitlines())
        yield os.environ | variables | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    finally:
        subprocess.run([script, "stop", folder], check=True)


def wait_until(what: Callable[[], bool], output: Path, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, output.read_text() if output.exists() else "no output"
        time.sleep(0.5)


def test_a_two_node_job_survives_its_time_limit_and_the_loss_of_a_node(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    def slurm(*command: str) -> str:
        done = subprocess.run(
            command, env=cluster, check=True, capture_output=True, text=True, cwd=ROOT
        )
        return done.stdout.strip()

    def state() -> str:
        return slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def last_step() -> int:
        return (global_step(last) if last.exists() else None) or 0

    def start_again() -> None:
        wait_until(lambda: state() == "PENDING", output)
        slurm(
            "scontrol", "update", f"jobid={job}", "StartTime=now"
        )  # instead of two minutes later
        wait_until(lambda: state() == "RUNNING", output)

    output, last = tmp_path / "out.txt", tmp_path / "run/checkpoints/last.ckpt"
    job = slurm(
        "sbatch", "--parsable", "--nodes=2", "--gpus-per-node=1", "--ntasks-per-node=1",
        f"--output={output}", "slurm/train.sbatch", f"run_dir={tmp_path}/run",
        "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_steps=400",
        "trainer.max_epochs=-1", "trainer.limit_val_batches=1", "trainer.log_every_n_steps=1",
        "model.num_filters=4", "model.num_hierarchies=1", "callbacks.samples=null",
        "callbacks.checkpoints.every_n_steps=10", "data.batch_size=8",
    )  # fmt: skip

    wait_until(lambda: last_step() >= 10, output)
    slurm("scancel", "--signal=USR1", job)  # what SLURM sends two minutes before the time limit
    start_again()
    said = output.read_text()
    stopped = last_step()
    assert f"stopped by SIGUSR1 after step {stopped}" in said
    assert said.count(f"stopped by SIGUSR1 after step {stopped}") == 1  # from rank 0 only

    wait_until(lambda: last_step() >= stopped + 10, output)
    slurm("scontrol", "update", "nodename=node2", "state=down", "reason=test")
    wait_until(lambda: state() == "PENDING", output)
    kept = last_step()
    # it returns by itself when its daemon reports again, unless this is faster
    subprocess.run(
        ["scontrol", "update", "nodename=node2", "state=resume"], env=cluster, check=False
    )
    start_again()
    wait_until(lambda: state() in ("COMPLETED", "FAILED", "CANCELLED"), output)

    said = output.read_text()
    assert state() == "COMPLETED", said
    assert said.count(f"resuming {last}") == 2
    assert "start 2" in said
    assert last_step() == 400 > kept
    assert "MEMBER: 2/2" not in said  # Lightning's banner, which is not ours to print
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/bits_per_dim"]]
    assert steps == list(range(400))  # one run, every step once
    run_id = (tmp_path / "run/wandb_run_id").read_text()
    assert run_id.startswith(f"slurm-{job}-")
    folders = list((tmp_path / "run/wandb").glob("offline-run-*"))
    assert folders
    assert all(folder.name.endswith(f"-{run_id}") for folder in folders)


def test_a_warning_during_a_validation_requeues_the_job_at_once(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    """One optimizer step per epoch, and validations of many seconds."""

    def slurm(*command: str) -> str:
        done = subprocess.run(
            command, env=cluster, check=True, capture_output=True, text=True, cwd=ROOT
        )
        return done.stdout.strip()

    def state() -> str:
        return slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    output, run_dir = tmp_path / "out.txt", tmp_path / "run"
    last, metrics = run_dir / "checkpoints/last.ckpt", run_dir / "metrics.csv"
    job = slurm(
        "sbatch", "--parsable", "--nodes=2", "--gpus-per-node=1", "--ntasks-per-node=1",
        f"--output={output}", "slurm/train.sbatch", f"run_dir={run_dir}",
        "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_epochs=2",
        "trainer.limit_train_batches=1", "data.batch_size=2", "callbacks.samples=null",
        "trainer.limit_test_batches=1", "trainer.log_every_n_steps=1", "logger=none",
    )  # fmt: skip
    wait_until(last.exists, output)  # it is written before the validation
    slurm("scancel", "--signal=USR1", job)
    wait_until(lambda: state() == "PENDING", output)
    assert "stopped by SIGUSR1 after step 1;" in output.read_text()
    assert "val/bits_per_dim" not in metrics.read_text()  # it was not waited for
    slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
    wait_until(lambda: state() in ("COMPLETED", "FAILED", "CANCELLED"), output)
    assert state() == "COMPLETED", output.read_text()
    with metrics.open(newline="") as file:
        steps = [row["step"] for row in csv.DictReader(file) if row["val/bits_per_dim"]]
    assert steps == ["0", "1"]
