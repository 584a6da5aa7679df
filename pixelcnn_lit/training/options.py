"""Options of a run: those at the top of conf/train.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RunOptions:
    """The options of a run that belong to none of its parts.

    Args:
        seed: of the initial weights, the data order and dropout.
        run_dir: where everything of the run is kept.
        resume: null for a new run, "auto" for the newest sound checkpoint in ``run_dir`` if there
            is one, or the path of a checkpoint; a SLURM job that is requeued goes on from its own.
        test: measure the best checkpoint on the test images at the end.
        threads: of a step on the CPU; "auto" takes what a resumed run had, or times a few steps
            first. OMP_NUM_THREADS in the environment stands above "auto".
        compile: torch.compile the blocks of the network; for GPUs, on a CPU what is fused anyway is
            faster.
        matmul_precision: of float32 matrix products on a GPU; "high" is TF32.
    """

    seed: int
    run_dir: str
    resume: str | None
    test: bool
    threads: Literal["auto"] | int
    compile: bool
    matmul_precision: Literal["highest", "high", "medium"]
