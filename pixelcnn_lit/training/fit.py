"""Fit and closing test: what the trainer does, and the ways in which it may end."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn, cast

from lightning.fabric.utilities.exceptions import MisconfigurationException

from pixelcnn_lit.callbacks import Interrupted
from pixelcnn_lit.messages import OptionError, one_line, say
from pixelcnn_lit.training.parts import Parts
from pixelcnn_lit.training.slurm import requeue_slurm_job


def fit(parts: Parts, checkpoint: Path | None) -> float:
    """Trains, from a checkpoint if there is one; returns the seconds it took.

    A signal ends the process here: its state is in last.ckpt. So do a loss that is not a number and
    data that can no longer be read, with one line and status 1.

    Raises:
        OptionError: for options and data that turn out to be impossible at the first step.
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
    except (OptionError, OSError) as error:  # what can go wrong with reading data
        if not trainer.global_step:
            raise OptionError(one_line(error)) from error
        if "HYDRA_FULL_ERROR" in os.environ:
            raise
        say(
            f"error: training failed at step {trainer.global_step}: {one_line(error)};"
            " resume=auto goes on from the last checkpoint, HYDRA_FULL_ERROR=1 shows where it was"
        )
        sys.exit(1)
    except ValueError as error:
        if "`val_check_interval`" not in str(error):  # the one option that Lightning refuses so
            raise
        raise OptionError(f"trainer: {one_line(error)}") from error
    return time.perf_counter() - start


def measure_best(parts: Parts) -> dict[str, float]:
    """Measures the best checkpoint, or the last where nothing was validated, on the test images.

    The weights are loaded into a new model: `trainer.test(ckpt_path=…)` would meet the callback
    that keeps the averaged weights, outside of training.

    Returns:
        The metrics by name; none, and a line that says why, if there is nothing to measure.
    """
    paths = (parts.checkpoints.best_path, parts.checkpoints.last_path)
    kept = next((path for path in paths if path.exists()), None)
    # rank 0 wrote it; to the others a shared folder may show it later
    kept = cast(Path | None, parts.trainer.strategy.broadcast(kept))
    if kept is None:
        say("no test: no checkpoint was written")
        return {}
    if not parts.data.test_dataloader():
        say("no test: the data have no test images")
        return {}
    model = type(parts.model).load_from_checkpoint(kept, map_location="cpu", weights_only=True)
    try:
        tested = parts.trainer.test(model, datamodule=parts.data, verbose=False)
    except MisconfigurationException as error:  # trainer.limit_test_batches below one batch
        say(f"no test: {one_line(error)}")
        return {}
    if not tested:
        say("no test: trainer.limit_test_batches=0")
        return {}
    return dict(tested[0])


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
