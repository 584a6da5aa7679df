"""Training runs that are over in seconds, and what they leave."""

from __future__ import annotations

import copy
import csv
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import forkserver
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from lightning import LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.training.run import train

TINY = [
    "trainer=cpu",
    "model.network.num_filters=4",
    "model.network.num_hierarchies=1",
    "model.likelihood.num_logistic_mix=2",
    "trainer.limit_val_batches=1",
    "callbacks.progress=null",
    "callbacks.curve=null",  # it takes longer than the training
]
CURVE = "callbacks.curve={_target_:pixelcnn_lit.callbacks.LearningCurve}"
"""Brings the picture back."""


VALUE = re.compile(r"(?![^=]*/)[a-z_]+\.[^=]*=|(run_dir|seed|resume|test|threads|compile)=")
"""Overrides that set an option, and choose no file of a group."""
NUM_DIGITS_EPOCHS = {"pixelcnn": 10, "gated": 11, "pp": 12, "autoencoder": 16}
"""After which every variant, as `make train` sets it up, is a good model of the digits."""


def train_with(options: Sequence[str], run_dir: Path, *overrides: str) -> float | None:
    """A run in this process; of two values for an option the last one counts."""
    return train(composed([*options, f"run_dir={run_dir}", *overrides]))


def composed(overrides: Sequence[str]) -> DictConfig:
    """What ``compose_config`` gives, which takes half a second.

    Groups are composed once for all tests, and values set in a copy; a mistake is told by the real.
    """
    values = [o for o in overrides if VALUE.match(o)]
    config, hydra = _composed(tuple(o for o in overrides if not VALUE.match(o)))
    config = copy.deepcopy(config)
    HydraConfig.instance().set_config(hydra)
    OmegaConf.set_struct(config, True)
    try:
        parsed = OverridesParser.create().parse_overrides(values)
        ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
    except HydraException:
        return compose_config("train", list(overrides))
    OmegaConf.set_struct(config, False)
    return config


@cache
def _composed(groups: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
    config = compose_config("train", list(groups))
    return config, OmegaConf.create({"hydra": HydraConfig.get()})


def begin_with(
    options: Sequence[str],
    run_dir: Path,
    *overrides: str,
    environment: dict[str, str] | None = None,
    run_by: Sequence[str] = (),
) -> forkserver.Command | subprocess.Popen[str]:
    """A run in a process of its own, whose output can be read; ``run_by`` a command, if any."""
    train = ["-m", "pixelcnn_lit", "train", *options, f"run_dir={run_dir}", *overrides]
    env = os.environ | (environment or {})
    if not run_by:
        return forkserver.start(*train, env=env)
    return subprocess.Popen(
        [*run_by, sys.executable, *train],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip


def run_on_two(
    *arguments: str, env: Mapping[str, str] = os.environ, timeout: float = 240
) -> list[subprocess.CompletedProcess[str]]:
    """`python ARGUMENTS` in two processes that know of each other, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": str(port),
    }  # fmt: skip
    outside = {name: value for name, value in env.items() if not name.startswith("SLURM")}
    processes = [
        forkserver.start(*arguments, env=outside | shared | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    return [forkserver.ended(process, timeout) for process in processes]


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
