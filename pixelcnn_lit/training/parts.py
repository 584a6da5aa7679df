"""Data, model, callbacks, loggers and trainer of a run, from its configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from pixelcnn_lit import configuration
from pixelcnn_lit.callbacks import Checkpoints, ProgressLines, Throughput
from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.loggers.metrics_file import MetricsFile
from pixelcnn_lit.loggers.wandb_tracker import WandbTracker
from pixelcnn_lit.matching import check_suits
from pixelcnn_lit.messages import OptionError, check_at_least, one_line
from pixelcnn_lit.models import AbstractLitModel


@dataclass(frozen=True)
class Parts:
    """What a run is put together from; the trainer holds all callbacks and loggers."""

    data: AbstractImageDataModule
    model: AbstractLitModel
    trainer: Trainer
    checkpoints: Checkpoints
    throughput: Throughput | None
    metrics_file: MetricsFile
    trackers: list[WandbTracker]


def build_parts(config: DictConfig, run_dir: Path) -> Parts:
    """Builds everything; nothing is read or written yet.

    Raises:
        OptionError: for what a constructor refuses, and for parts that do not fit together.
    """
    data = cast(AbstractImageDataModule, configuration.build(config, "data"))
    model = cast(AbstractLitModel, configuration.build(config, "model"))
    check_suits(model, data)
    try:
        model.configure_optimizers()  # else mistakes are told only once training begins
    except ValueError as error:
        raise OptionError(one_line(error)) from error
    callbacks = cast(list[Callback], _build_group(config, "callbacks"))
    checkpoints = next((c for c in callbacks if isinstance(c, Checkpoints)), None)
    if checkpoints is None:
        raise OptionError("callbacks.checkpoints=null: every run keeps checkpoints")
    _check_checkpoints(checkpoints, model, run_dir)
    loggers = cast(list[Logger], _build_group(config, "logger"))
    metrics_file = MetricsFile(run_dir / "metrics.csv")
    trainer = _build_trainer(config, callbacks, [metrics_file, *loggers])
    throughput = next((c for c in callbacks if isinstance(c, Throughput)), None)
    trackers = [logger for logger in loggers if isinstance(logger, WandbTracker)]
    return Parts(data, model, trainer, checkpoints, throughput, metrics_file, trackers)


def _build_group(config: DictConfig, group: str) -> list[object]:
    """The parts of a group that are not left out, of whatever library."""
    parts = []
    for name, node in (config.get(group) or {}).items():
        if not isinstance(node, DictConfig | None):
            raise OptionError(f"{group}.{name}={node}: null leaves it out")
        if node is not None:
            try:
                parts.append(configuration.build(config, f"{group}.{name}"))
            # a library that is not installed; Lightning's word for impossible options
            except (ImportError, MisconfigurationException) as error:
                raise OptionError(f"{group}.{name}: {one_line(error)}") from error
    return parts


def _build_trainer(config: DictConfig, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    other_progress = ProgressLines if sys.stdout.isatty() else ProgressBar
    callbacks = [callback for callback in callbacks if not isinstance(callback, other_progress)]
    make_trainer = cast(Callable[..., Trainer], configuration.build(config, "trainer"))
    try:
        trainer = make_trainer(
            callbacks=callbacks,
            logger=loggers,
            enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise OptionError(f"trainer: {one_line(error)}") from error
    # Lightning takes these and then fails at them, or takes no notice
    check_at_least("trainer.log_every_n_steps", config.trainer.log_every_n_steps, 1)
    check_at_least("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches, 1)
    clip = trainer.gradient_clip_val
    if clip is not None and clip <= 0:
        raise OptionError(f"trainer.gradient_clip_val={clip}: must be above 0; null for none")
    if HydraConfig.get().mode == RunMode.MULTIRUN and trainer.world_size > 1:
        raise OptionError(
            f"trainer.devices={config.trainer.devices}: every process would repeat the whole"
            " multirun; use one device per job with -m, or a shell loop"
        )
    return trainer


def _check_checkpoints(checkpoints: Checkpoints, model: AbstractLitModel, run_dir: Path) -> None:
    """Refuse what would be noticed only after the first validation, or when the run is resumed."""
    if checkpoints.folder.resolve() != (run_dir / "checkpoints").resolve():
        raise OptionError(
            f"callbacks.checkpoints.folder={checkpoints.folder}: a resumed run looks in"
            f" {run_dir / 'checkpoints'}; choose run_dir, or make that folder a link"
        )
    if checkpoints.monitor not in model.validation_metrics:
        raise OptionError(
            f"callbacks.checkpoints.monitor={checkpoints.monitor}: validation measures"
            f" {', '.join(model.validation_metrics)}"
        )
