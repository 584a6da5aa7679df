"""What the files in conf/ may compute: `${default_run_dir:…}` and the like."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

RUN_DIR_VARIABLE = "PIXELCNN_LIT_RUN_DIR"


def register_resolvers() -> None:
    """What conf/ may use besides OmegaConf's own: see the functions below."""
    for resolver in (default_run_dir, default_accelerator, default_precision, run_name):
        OmegaConf.register_new_resolver(
            resolver.__name__, resolver, replace=True, use_cache=resolver is default_run_dir
        )


def default_run_dir(model: str, data: str) -> str:
    """runs/MODEL-DATA/WHEN; processes of one run agree on it, a requeued job finds it again."""
    environment = os.environ
    started_by_lightning = environment.get("LOCAL_RANK", "0") != "0"
    if started_by_lightning and RUN_DIR_VARIABLE in environment:
        return environment[RUN_DIR_VARIABLE]
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return HydraConfig.get().runtime.output_dir
    folder = f"runs/{model}-{data}"
    if (sweep := environment.get("WANDB_SWEEP_ID")) and (run := environment.get("WANDB_RUN_ID")):
        return f"{folder}/sweep-{sweep}/{run}"
    if job := environment.get("SLURM_JOB_ID"):
        task = environment.get("SLURM_ARRAY_TASK_ID")
        job = environment.get("SLURM_ARRAY_JOB_ID", job)
        return f"{folder}/slurm-{job}_{task}" if task else f"{folder}/slurm-{job}"
    # under torchrun every process has its own clock
    if elastic := environment.get("TORCHELASTIC_RUN_ID"):
        return f"{folder}/torchrun-{elastic if elastic != 'none' else os.getppid()}"
    # to the microsecond: a loop in a shell starts several runs within a second
    return f"{folder}/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def default_accelerator() -> str:
    """A GPU if there is one."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def default_precision() -> str:
    """bf16-mixed on GPUs that have it, 16-mixed on older ones, float32 on the CPU."""
    import torch

    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def run_name(run_dir: str) -> str:
    """pp-digits/2026-11-22_12-00-00: the last two folders of a run's path."""
    return "/".join(Path(run_dir).parts[-2:])
