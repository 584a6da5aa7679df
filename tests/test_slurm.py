"""Training as a job of a real SLURM: two virtual nodes, real daemons, the real sbatch script."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_runs import rows

from pixelcnn_lit.checkpoints import global_step

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "slurm/test_cluster.sh"
ENDED = ("COMPLETED", "FAILED", "CANCELLED")
MISSING = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs slurm-wlm and munge (no {', '.join(MISSING)})"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the daemons of SLURM"),
]


class Cluster:
    """SLURM's commands, run where they reach the test cluster."""

    def __init__(self, folder: Path) -> None:
        said = subprocess.run([CLUSTER, "env", folder], check=True, capture_output=True, text=True)
        variables = dict(line.split("=", 1) for line in said.stdout.splitlines())
        environment = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        self._environment = os.environ | variables | environment
        self._log = folder / "log/slurmctld.log"

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            command, env=self._environment, check=check, capture_output=True, text=True, cwd=ROOT
        )
        return done.stdout.strip()

    def submit(self, output: Path, *overrides: str) -> str:
        """The number of a job that trains on both nodes."""
        return self.run(
            "sbatch", "--parsable", "--nodes=2", "--gpus-per-node=1", "--ntasks-per-node=1",
            f"--output={output}", "slurm/train.sbatch", "trainer.accelerator=cpu",
            "trainer.precision=32-true", "trainer.log_every_n_steps=1", *overrides,
        )  # fmt: skip

    def state(self, job: str) -> str:
        return self.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def is_anywhere(self, job: str) -> bool:
        """Whether a node still runs a part of the job; SLURM does not know it of a lost one."""
        commands = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                commands.append(process.read_text())
        return any(command.startswith(f"slurmstepd: [{job}.") for command in commands)

    def warn(self, job: str) -> None:
        """Do what SLURM does two minutes before the time limit."""
        self.run("scancel", "--signal=USR1", job)

    def wait_until(self, what: Callable[[], bool], output: Path, seconds: float = 400) -> None:
        """Wait for what a job does; if it does not, tell what it wrote and what SLURM knows."""
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                known = [self.run("scontrol", "show", kind) for kind in ("job", "node")]
                said = output.read_text() if output.exists() else "no output"
                raise TimeoutError("\n".join([said, *known, self._log.read_text()]))
            time.sleep(0.5)

    def start_soon(self, job: str) -> None:
        """Start a requeued job instead of two minutes later, but not in the second of its end.

        A node tells the credentials of the two starts apart by the second only.
        """
        self.run("scontrol", "update", f"jobid={job}", "StartTime=now+2")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([CLUSTER, "start", folder], check=True)
    try:
        yield Cluster(folder)
    finally:
        subprocess.run([CLUSTER, "stop", folder], check=True)


def test_a_two_node_job_survives_its_time_limit_and_the_loss_of_a_node(
    cluster: Cluster, tmp_path: Path
) -> None:
    def last_step() -> int:
        return (global_step(last) if last.exists() else None) or 0

    def start_again() -> None:
        cluster.wait_until(lambda: cluster.state(job) == "PENDING", output)
        cluster.start_soon(job)
        cluster.wait_until(lambda: cluster.state(job) == "RUNNING", output)

    output, last = tmp_path / "out.txt", tmp_path / "run/checkpoints/last.ckpt"
    job = cluster.submit(
        output, f"run_dir={tmp_path}/run", "trainer.max_steps=400", "trainer.max_epochs=-1",
        "trainer.limit_val_batches=1",
        "model.network.num_filters=4", "model.network.num_hierarchies=1",
        "callbacks.samples=null", "callbacks.checkpoints.every_n_steps=10", "data.batch_size=8",
    )  # fmt: skip

    cluster.wait_until(lambda: last_step() >= 10, output)
    cluster.warn(job)
    start_again()
    said = output.read_text()
    stopped = last_step()
    assert f"stopped by SIGUSR1 after step {stopped}" in said
    assert said.count(f"stopped by SIGUSR1 after step {stopped}") == 1  # from rank 0 only

    cluster.wait_until(lambda: last_step() >= stopped + 10, output)
    cluster.run("scontrol", "update", "nodename=node2", "state=down", "reason=test")
    cluster.wait_until(lambda: cluster.state(job) == "PENDING", output)
    kept = last_step()
    # else its daemon, once it reports again, ends what it has of the job: the new start, too
    cluster.wait_until(lambda: not cluster.is_anywhere(job), output)
    # it returns by itself when its daemon reports again, unless this is faster
    cluster.run("scontrol", "update", "nodename=node2", "state=resume", check=False)
    start_again()
    cluster.wait_until(lambda: cluster.state(job) in ENDED, output)

    said = output.read_text()
    assert cluster.state(job) == "COMPLETED", said
    assert said.count(f"resuming {last}") == 2
    assert "start 2" in said
    assert last_step() == 400 > kept
    assert "MEMBER: 2/2" not in said  # Lightning's banner, which is not ours to print
    steps = [int(row["step"]) for row in rows(tmp_path / "run") if row["train/bits_per_dim"]]
    assert steps == list(range(400))  # one run, every step once
    run_id = (tmp_path / "run/wandb_run_id").read_text()
    assert run_id.startswith(f"slurm-{job}-")
    folders = list((tmp_path / "run/wandb").glob("offline-run-*"))
    assert folders
    assert all(folder.name.endswith(f"-{run_id}") for folder in folders)


def test_a_warning_during_a_validation_requeues_the_job_at_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    """One optimizer step per epoch, and validations of many seconds."""
    output, run_dir = tmp_path / "out.txt", tmp_path / "run"
    last, metrics = run_dir / "checkpoints/last.ckpt", run_dir / "metrics.csv"
    job = cluster.submit(
        output, f"run_dir={run_dir}", "trainer.max_epochs=2", "trainer.limit_train_batches=1",
        "trainer.limit_test_batches=1", "data.batch_size=2", "callbacks.samples=null",
        "logger=none",
    )  # fmt: skip
    cluster.wait_until(last.exists, output)  # it is written before the validation
    cluster.warn(job)
    cluster.wait_until(lambda: cluster.state(job) == "PENDING", output)
    assert "stopped by SIGUSR1 after step 1;" in output.read_text()
    assert "val/bits_per_dim" not in metrics.read_text()  # it was not waited for
    cluster.start_soon(job)
    cluster.wait_until(lambda: cluster.state(job) in ENDED, output)
    assert cluster.state(job) == "COMPLETED", output.read_text()
    steps = [row["step"] for row in rows(run_dir) if row["val/bits_per_dim"]]
    assert steps == ["0", "1"]
