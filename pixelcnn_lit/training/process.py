"""Process settings of a training run: seeds, signals, and which warnings are of no interest."""

from __future__ import annotations

import logging
import os
import warnings

import torch
from lightning import seed_everything

from pixelcnn_lit import configuration
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.training.options import RunOptions
from pixelcnn_lit.training.slurm import requeue_at_warning


def prepare_process(options: RunOptions) -> None:
    """Makes the settings that hold for everything in this process.

    Raises:
        OptionError: if the seed is out of range.
    """
    if not 0 <= options.seed < 2**32:
        raise OptionError(f"seed={options.seed}: must be 0 … {2**32 - 1}")
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
