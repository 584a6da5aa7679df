"""Train a model, keep its best and last checkpoint, measure the best on the test images.

Examples:
    pixelcnn-lit train model=gated data=mnist trainer.max_epochs=10
    pixelcnn-lit train experiment=cifar10_pp trainer=ddp run_dir=runs/first
"""

from __future__ import annotations

from omegaconf import DictConfig

from pixelcnn_lit import configuration
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.training.options import RunOptions


def train(config: DictConfig) -> float | None:
    """Runs pixelcnn_lit.training, which takes seconds to import: mistakes are told before."""
    from pixelcnn_lit.loggers import wandb_tracker
    from pixelcnn_lit.training import run

    try:
        return run.train(config)
    except OptionError as error:
        wandb_tracker.report_invalid_trial(str(error))
        raise


COMMAND = configuration.Command(train, RunOptions, __doc__)
