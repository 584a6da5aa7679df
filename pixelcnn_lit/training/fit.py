"""Fit: the training itself, and the ways in which it may end."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

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
