"""One training run, from the configuration to the table at its end; read `train` top down."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Callback, Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar, WeightAveraging
from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit import configuration
from pixelcnn_lit.callbacks import Checkpoints, Interrupted, Throughput
from pixelcnn_lit.checkpoints import check_same_model, read_checkpoint, remove_unfinished
from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.loggers.metrics_file import MetricsFile
from pixelcnn_lit.loggers.wandb_tracker import WandbTracker
from pixelcnn_lit.matching import check_suits
from pixelcnn_lit.messages import OptionError, one_line, print_table, say
from pixelcnn_lit.models import AbstractLitModel
from pixelcnn_lit.training.folder import checkpoint_to_resume, is_within, open_run_dir
from pixelcnn_lit.training.options import RunOptions
from pixelcnn_lit.training.slurm import requeue_at_warning, requeue_slurm_job
from pixelcnn_lit.training.summary import summary_table


@dataclass(frozen=True)
class Parts:
    """What a run is put together from."""

    data: AbstractImageDataModule
    model: AbstractLitModel
    trainer: Trainer
    checkpoints: Checkpoints
    throughput: Throughput | None
    metrics_file: MetricsFile
    trackers: list[WandbTracker]


def train(config: DictConfig) -> float | None:
    """Trains, keeps the best and the last checkpoint, and measures the best on the test images.

    Args:
        config: conf/train.yaml, composed and checked.

    Returns:
        The best validation bits/dim, for Hydra's sweepers; None if nothing was validated.

    Raises:
        OptionError: for what the constructors, the data or the run folder find wrong, before any
            training.
    """
    options = configuration.read_options(RunOptions, config)
    run_dir = Path(options.run_dir)
    _prepare_process(options)
    parts = _build(config, run_dir)
    checkpoint = None
    if parts.trainer.is_global_zero or options.resume:
        checkpoint = checkpoint_to_resume(options.resume, run_dir)
    first_step = 0
    if checkpoint is not None:
        content = read_checkpoint(checkpoint)
        assert content is not None  # checkpoint_to_resume has read it
        check_same_model(checkpoint, content, parts.model.hparams)
        _check_averaging(checkpoint, content, parts.trainer)
        if not is_within(checkpoint, run_dir):  # a run that is done may be measured again
            _check_unfinished(checkpoint, content, parts.trainer)
        first_step = cast(int, content["global_step"])
    if options.compile:
        parts.model.network.compile()
    if parts.trainer.is_global_zero:
        parts.data.trainer = parts.trainer  # how many processes share a batch
        parts.data.prepare_data()  # Lightning would do it, but only after the run folder is opened
        open_run_dir(run_dir, config)
        remove_unfinished(run_dir)
        parts.metrics_file.keep_until(first_step)
    finished = False
    try:
        for tracker in parts.trackers:
            tracker.log_config(
                cast(dict[str, object], OmegaConf.to_container(config, resolve=True))
            )
        seconds = _fit(parts, checkpoint)
        if math.isinf(parts.checkpoints.best):
            every = config.trainer.check_val_every_n_epoch
            say(f"no validation took place (trainer.check_val_every_n_epoch={every})")
        for tracker in parts.trackers:
            tracker.upload_checkpoint(parts.checkpoints.best_path)
        metrics = _test(parts) if options.test else {}
        finished = True
    finally:
        for tracker in parts.trackers:
            tracker.close(finished)
    if not math.isinf(parts.checkpoints.best):
        metrics[parts.checkpoints.monitor] = parts.checkpoints.best
    if parts.trainer.is_global_zero:
        _summarise(parts, run_dir, metrics, first_step, seconds)
    return metrics.get(parts.checkpoints.monitor)


def _prepare_process(options: RunOptions) -> None:
    if not 0 <= options.seed < 2**32:
        raise OptionError(f"seed={options.seed}: must be 0 … {2**32 - 1}")
    # for the processes that Lightning starts
    os.environ[configuration.RUN_DIR_VARIABLE] = options.run_dir
    requeue_at_warning()  # which may come before training begins, and during the test
    # a log file on a full disk (W&B's) is no reason to fill the screen
    logging.raiseExceptions = False
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # it says which hardware it did not find
    # Lightning's own use of torch
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    # slurm/train.sbatch does; people who train without SLURM on a machine that has it know why
    warnings.filterwarnings("ignore", message=".*srun.* command is available")
    # metrics are logged every n steps of the run, however short its epochs are
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval")
    # a resumed run may do without max_time, pictures and the like
    warnings.filterwarnings("ignore", message="(?s).*callbacks used to create the checkpoint need")
    seed_everything(options.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision(options.matmul_precision)


def _build(config: DictConfig, run_dir: Path) -> Parts:
    data = cast(AbstractImageDataModule, configuration.build(config, "data"))
    model = cast(AbstractLitModel, configuration.build(config, "model"))
    check_suits(model, data)
    model.configure_optimizers()  # mistakes in its options are told now, not once training begins
    callbacks = cast(list[Callback], _build_all(config, "callbacks"))
    checkpoints = next(
        (callback for callback in callbacks if isinstance(callback, Checkpoints)), None
    )
    if checkpoints is None:
        raise OptionError("callbacks.checkpoints=null: every run keeps checkpoints")
    _check_checkpoints(checkpoints, model, run_dir)
    trackers = cast(list[WandbTracker], _build_all(config, "logger"))
    metrics_file = MetricsFile(run_dir / "metrics.csv")
    make_trainer = cast(Callable[..., Trainer], configuration.build(config, "trainer"))
    if not sys.stdout.isatty():  # callbacks.progress_lines takes the place of the bar
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    try:
        trainer = make_trainer(
            callbacks=callbacks,
            logger=[metrics_file, *trackers],
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise OptionError(f"trainer: {error}") from error
    _check_trainer(trainer)
    if HydraConfig.get().mode == RunMode.MULTIRUN and trainer.world_size > 1:
        raise OptionError(
            f"trainer.devices={config.trainer.devices}: every process would repeat the whole"
            " multirun; use one device per job with -m, or a shell loop"
        )
    throughput = next((c for c in callbacks if isinstance(c, Throughput)), None)
    return Parts(data, model, trainer, checkpoints, throughput, metrics_file, trackers)


def _build_all(config: DictConfig, group: str) -> list[object]:
    """The parts of a group that are not left out."""
    parts = []
    for name, node in config[group].items():
        if not isinstance(node, DictConfig | None):
            raise OptionError(f"{group}.{name}={node}: null leaves it out")
        if node is not None:
            parts.append(configuration.build(config, f"{group}.{name}"))
    return parts


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


def _check_averaging(checkpoint: Path, content: Mapping[str, object], trainer: Trainer) -> None:
    """Refuse to go on from averaged weights with the optimizer's state of the trained ones."""
    averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    if "current_model_state" in content and not averages:
        raise OptionError(
            f"callbacks.average: {checkpoint} is of a run that averages its weights; a resumed run"
            " goes on with it and cannot do without"
        )


def _check_unfinished(checkpoint: Path, content: Mapping[str, object], trainer: Trainer) -> None:
    """Refuse to go on from another run that has trained as long as it was asked for."""
    loop = cast("dict[str, dict]", content["loops"])["fit_loop"]
    num_epochs = loop["epoch_progress"]["current"]["ready"]
    if not loop["epoch_loop.batch_progress"]["is_last_batch"]:
        num_epochs -= 1
    for option, done, most in [
        ("max_epochs", num_epochs, trainer.max_epochs),
        ("max_steps", content["global_step"], trainer.max_steps),
    ]:
        if most is not None and 0 <= most <= done:
            raise OptionError(
                f"trainer.{option}={most}: nothing is left to train, {checkpoint} has {done}"
            )


def _check_trainer(trainer: Trainer) -> None:
    """Refuse what Lightning takes and then fails at, or takes no notice of."""
    accumulate, clip = trainer.accumulate_grad_batches, trainer.gradient_clip_val
    if accumulate < 1:
        raise OptionError(f"trainer.accumulate_grad_batches={accumulate}: must be 1 or more")
    if clip is not None and clip <= 0:
        raise OptionError(f"trainer.gradient_clip_val={clip}: must be above 0; null for none")


def _fit(parts: Parts, checkpoint: Path | None) -> float:
    """Trains; returns the seconds it took.

    A signal ends the process here: its state is in last.ckpt.
    """
    start = time.perf_counter()
    trainer = parts.trainer
    # fit(ckpt_path=…) would tell the model only after setup("fit"), where it asks whether to
    # initialise its weights from the data
    trainer.ckpt_path = checkpoint
    try:
        trainer.fit(parts.model, datamodule=parts.data, weights_only=True)
        trainer.ckpt_path = None  # else the test would load it again
    except Interrupted as interrupted:
        _leave(interrupted, parts)
    except FloatingPointError as error:  # no mistake in the options: another status than theirs
        say(f"error: {error}")
        sys.exit(1)
    except MisconfigurationException as error:  # Lightning's word for impossible options
        raise OptionError(f"trainer: {one_line(error)}") from error
    except (ValueError, OSError) as error:
        if not trainer.global_step:
            raise OptionError(str(error)) from error
        if "HYDRA_FULL_ERROR" in os.environ:
            raise
        say(
            f"error: training failed at step {trainer.global_step}: {one_line(error)};"
            " resume=auto goes on from the last checkpoint, HYDRA_FULL_ERROR=1 shows where it was"
        )
        sys.exit(1)
    return time.perf_counter() - start


def _leave(interrupted: Interrupted, parts: Parts) -> NoReturn:
    requeue = interrupted.signum == signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ
    say(
        f"stopped by {interrupted}; {parts.checkpoints.last_path} holds everything,"
        " resume=auto goes on from it"
    )
    for tracker in parts.trackers:
        tracker.close(finished=requeue)
    if requeue and parts.trainer.is_global_zero:
        requeue_slurm_job()
    if requeue or not parts.trainer.is_global_zero:
        sys.exit(0)  # Lightning kills rank 0 as soon as another process ends with an error
    sys.exit(128 + interrupted.signum)


def _test(parts: Parts) -> dict[str, float]:
    """Measures the best checkpoint, or the last where nothing was validated; the metrics by name.

    The weights are loaded into a new model: `trainer.test(ckpt_path=…)` would meet the callback
    that keeps the averaged weights, outside of training.
    """
    paths = (parts.checkpoints.best_path, parts.checkpoints.last_path)
    kept = next((path for path in paths if path.exists()), None)
    # rank 0 wrote it; to the others a shared folder may show it later
    kept = cast(Path | None, parts.trainer.strategy.broadcast(kept))
    if not parts.data.test_dataloader() or kept is None:
        say(
            "no test: "
            + ("no checkpoint was written" if kept is None else "the data have no test images")
        )
        return {}
    model = type(parts.model).load_from_checkpoint(kept, map_location="cpu", weights_only=True)
    try:
        tested = parts.trainer.test(model, datamodule=parts.data, verbose=False)
    except MisconfigurationException as error:  # trainer.limit_test_batches below one batch
        say(f"no test: {one_line(error)}")
        return {}
    if not tested:
        say("no test: trainer.limit_test_batches=0")
    return dict(tested[0]) if tested else {}


def _summarise(
    parts: Parts, run_dir: Path, metrics: dict[str, float], first_step: int, seconds: float
) -> None:
    table = summary_table(
        run_dir,
        metrics,
        num_parameters=sum(p.numel() for p in parts.model.parameters() if p.requires_grad),
        first_step=first_step,
        last_step=parts.trainer.fit_loop.epoch_loop.global_step,
        seconds=seconds,
        images_per_second=parts.throughput.images_per_second if parts.throughput else None,
        has_likelihood=isinstance(parts.model, AbstractLitModel),
    )
    print_table(table)
