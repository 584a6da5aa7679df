"""What any Lightning logger is given beside numbers: the configuration, and pictures."""

from __future__ import annotations

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from pixelcnn_lit.loggers.wandb_tracker import WandbTracker


def log_picture(logger: Logger, name: str, picture: Tensor, step: int) -> None:
    """Hands a picture to a logger; to one that takes none, nothing happens.

    Args:
        logger: of any kind.
        name: under which the logger keeps it.
        picture: uint8 (height, width, 3), on the CPU.
        step: under which Lightning logs the numbers that go with it.
    """
    if isinstance(logger, WandbTracker):
        logger.log_picture(name, picture, step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [picture.numpy()], step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, picture.numpy(), step, dataformats="HWC")


def log_config(logger: Logger, config: dict[str, object]) -> None:
    """Hands a logger the whole configuration.

    Lightning calls ``log_hyperparams`` too, with the model's options, which are a part of it.
    """
    if isinstance(logger, WandbTracker):
        logger.log_config(config)
    else:
        logger.log_hyperparams(config)
