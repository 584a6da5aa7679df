"""Trains a model: `pixelcnn-lit train model=pp data=digits trainer=cpu run_dir=DIR …`.

conf/train.yaml lists what can be set; pixelcnn_lit/training/run.py is what happens.
"""

from __future__ import annotations

from omegaconf import DictConfig

from pixelcnn_lit import configuration
from pixelcnn_lit.training.options import RunOptions


def train(config: DictConfig) -> float | None:
    """Runs pixelcnn_lit.training, which takes seconds to import: mistakes are told before."""
    from pixelcnn_lit.loggers import wandb_tracker
    from pixelcnn_lit.training import run

    try:
        return run.train(config)
    except ValueError as error:
        wandb_tracker.report_invalid_trial(str(error))
        raise


def main() -> None:
    """The command line."""
    configuration.run(train, "train", RunOptions)
