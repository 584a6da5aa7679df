"""What the callbacks that draw have in common: when, and where the picture goes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning import Callback, Trainer
from PIL import Image
from torch import Tensor

from pixelcnn_lit.images import enlarge

MIN_WIDTH = 640
"""Small pictures are enlarged to about so many pixels: 8×8 images could not be seen."""


@runtime_checkable
class PictureLogger(Protocol):
    """A logger that also takes pictures."""

    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Logs ``picture``, uint8 (height, width, 3)."""
        ...


class AbstractEpochPictures(Callback):
    """Draws on rank 0 after some validations, with the averaged weights still in place.

    Attributes:
        folder: within the run folder; the picture of an epoch is ``epoch=NNN.png`` in it.
        every_n_epochs: how often; the last epoch is always drawn.
    """

    folder: str
    every_n_epochs: int

    def is_due(self, trainer: Trainer) -> bool:
        """Whether the validation that runs is to be followed by a picture."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return False
        epoch = trainer.current_epoch + 1
        out_of_steps = trainer.global_step == trainer.max_steps
        is_last = epoch == trainer.max_epochs or out_of_steps or trainer.should_stop
        return is_last or epoch % self.every_n_epochs == 0

    def save(self, trainer: Trainer, picture: Tensor) -> None:
        """Writes a picture, uint8 (height, width, 3), and hands it to the loggers."""
        picture = enlarge(picture, MIN_WIDTH).cpu()
        folder = Path(trainer.default_root_dir) / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.numpy()).save(folder / f"epoch={trainer.current_epoch:03d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, PictureLogger):
                # the step under which Lightning logs the numbers of this validation
                logger.log_picture(self.folder, picture, trainer.global_step - 1)
