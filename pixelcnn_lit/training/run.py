"""Training run: from the configuration to the table at its end."""

from __future__ import annotations

import logging
import math
import os
import warnings
from pathlib import Path
from typing import cast

import torch
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit import configuration
from pixelcnn_lit.layers import kernels
from pixelcnn_lit.messages import OptionError, say
from pixelcnn_lit.networks import AbstractNetwork
from pixelcnn_lit.training.fit import fit, measure_best
from pixelcnn_lit.training.folder import open_run_dir
from pixelcnn_lit.training.options import RunOptions
from pixelcnn_lit.training.parts import build_parts
from pixelcnn_lit.training.resume import find_start
from pixelcnn_lit.training.slurm import requeue_at_warning
from pixelcnn_lit.training.summary import print_summary
from pixelcnn_lit.training.threads import MOST, settle_threads


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
    parts = build_parts(config, run_dir)
    checkpoint, first_step = find_start(options.resume, run_dir, parts.model.hparams, parts.trainer)
    if parts.trainer.is_global_zero:
        parts.data.trainer = parts.trainer  # how many processes share a batch
        parts.data.prepare_data()  # Lightning would do it, but only after the run folder is opened
    if parts.trainer.strategy.root_device.type == "cpu":
        trouble = kernels.trouble()  # before the first step, which would wait for the compiler
        if trouble and parts.trainer.is_global_zero:
            say(f"most networks compute more slowly: kernels.cpp could not be compiled: {trouble}")
    if (threads := settle_threads(options, parts, checkpoint)) is not None:
        config.threads = threads  # for the record
    if options.compile:
        network = parts.model.network
        network.compile_blocks() if isinstance(network, AbstractNetwork) else network.compile()
    if parts.trainer.is_global_zero:
        if parts.trainer.strategy.root_device.type == "cpu" and not kernels.available():
            say(
                "no C++ compiler (CXX, else c++): the networks compute at two thirds of their speed"
            )
        open_run_dir(run_dir, config)
        parts.metrics_file.keep_until(first_step)
    as_dict = cast("dict[str, object]", OmegaConf.to_container(config, resolve=True))
    finished = False
    try:
        for logger in parts.trainer.loggers:
            logger.log_hyperparams(as_dict)
        for tracker in parts.trackers:  # Lightning gives their log_hyperparams the model's alone
            tracker.log_config(as_dict)
        seconds = fit(parts, checkpoint)
        for tracker in parts.trackers:
            tracker.upload_checkpoint(parts.checkpoints.best_path)
        metrics = measure_best(parts) if options.test else {}
        finished = True
    finally:
        for tracker in parts.trackers:
            tracker.close(finished)
    monitor, best = parts.checkpoints.monitor, parts.checkpoints.best
    if math.isinf(best):
        every = config.trainer.check_val_every_n_epoch
        say(f"no validation took place (trainer.check_val_every_n_epoch={every})")
    else:
        metrics[monitor] = best
    if parts.trainer.is_global_zero:
        print_summary(parts, run_dir, metrics, first_step, seconds)
    return metrics.get(monitor)


def _prepare_process(options: RunOptions) -> None:
    if not 0 <= options.seed < 2**32:
        raise OptionError(f"seed={options.seed}: must be 0 … {2**32 - 1}")
    if options.threads != "auto" and not 1 <= options.threads <= MOST:
        raise OptionError(f"threads={options.threads}: must be auto or 1 … {MOST}")
    # for the processes that Lightning starts
    os.environ[configuration.RUN_DIR_VARIABLE] = options.run_dir
    requeue_at_warning()  # which may come before training begins, and during the test
    # a log file on a full disk (W&B's) is no reason to fill the screen
    logging.raiseExceptions = False
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # it says which hardware it did not find
    for uninteresting in (
        ".*LeafSpec.* is deprecated",  # Lightning's own use of torch
        # slurm/train.sbatch does; people who train without SLURM on a machine that has it know why
        ".*srun.* command is available",
        # metrics are logged every n steps of the run, however short its epochs are
        ".*smaller than the logging interval",
        # a resumed run may do without max_time, pictures and the like
        "(?s).*callbacks used to create the checkpoint need",
    ):
        warnings.filterwarnings("ignore", message=uninteresting)
    seed_everything(options.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision(options.matmul_precision)
