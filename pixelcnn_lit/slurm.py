"""What a run asks of SLURM itself."""

from __future__ import annotations

import os
import subprocess


def requeue_slurm_job() -> None:
    """Puts the running job back into its queue; SLURM ends it and starts it again.

    Raises:
        subprocess.CalledProcessError: if scontrol refuses.
    """
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    subprocess.run(["scontrol", "requeue", job], check=True)
