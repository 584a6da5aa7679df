"""SLURM: whether a job was requeued, and how it asks to be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

from pixelcnn_lit.messages import say


def is_requeued() -> bool:
    """Whether SLURM has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def requeue_slurm_job() -> None:
    """Puts the running job back into its queue; SLURM ends it and starts it again.

    Raises:
        subprocess.CalledProcessError: if scontrol refuses.
    """
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    subprocess.run(["scontrol", "requeue", job], check=True)


def requeue_at_warning() -> None:
    """Outside of training nothing needs saving: from now on SIGUSR1 requeues a SLURM job at once.

    Training itself saves first. Without SLURM the signal is ignored.
    """
    if "SLURM_JOB_ID" not in os.environ:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return
    own = os.getpid()

    def requeue(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a worker inherits the handler; only its parent may act
            return
        if os.environ.get("SLURM_PROCID", "0") == "0":
            say("stopped by SIGUSR1 outside of training; the requeued job goes on from there")
            requeue_slurm_job()
        sys.exit(0)

    signal.signal(signal.SIGUSR1, requeue)
