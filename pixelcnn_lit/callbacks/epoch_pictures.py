"""Pictures after a validation: when they are drawn, and where they go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.types import STEP_OUTPUT
from PIL import Image
from torch import Tensor

from pixelcnn_lit.images import Batch, enlarge
from pixelcnn_lit.messages import check_at_least

MIN_WIDTH = 640
"""Small pictures are enlarged to about so many pixels: 8×8 images could not be seen."""


class AbstractEpochPictures(Callback, ABC):
    """Draws on rank 0 after some validations, with the averaged weights still in place.

    Attributes:
        folder: within the run folder; the picture of an epoch is ``epoch=NNN.png`` in it.
        every_n_epochs: how often; the last epoch is always drawn.
    """

    folder: str

    def __init__(self, every_n_epochs: int) -> None:
        check_at_least(f"callbacks.{self.folder}.every_n_epochs", every_n_epochs, 1)
        self.every_n_epochs = every_n_epochs
        self._shown: Batch = {}

    @abstractmethod
    def choose(self, model: LightningModule, batch: Batch) -> Tensor:
        """Which examples the picture is to show: indices into ``batch``, all there are so far."""

    @abstractmethod
    def picture(self, model: LightningModule, batch: Batch) -> Tensor:
        """The picture, uint8 (height, width, 3), of the examples chosen."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Goes through the whole validation, as it may come class after class."""
        if self._is_due(trainer) and len(batch["image"]):  # 0 where every picture was corrupt
            shown = self._shown or {name: values[:0] for name, values in batch.items()}
            batch = {name: torch.cat([shown[name], batch[name]]) for name in shown}
            chosen = self.choose(pl_module, batch)
            self._shown = {name: values[chosen] for name, values in batch.items()}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws while the averaged weights are still in place."""
        batch, self._shown = self._shown, {}
        if batch:
            self._save(trainer, self.picture(pl_module, batch))

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return False
        epoch = trainer.current_epoch + 1
        out_of_steps = trainer.global_step == trainer.max_steps
        is_last = epoch == trainer.max_epochs or out_of_steps or trainer.should_stop
        return is_last or epoch % self.every_n_epochs == 0

    def _save(self, trainer: Trainer, picture: Tensor) -> None:
        picture = enlarge(picture, MIN_WIDTH).cpu()
        folder = Path(trainer.default_root_dir) / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.numpy()).save(folder / f"epoch={trainer.current_epoch:03d}.png")
        step = trainer.global_step - 1  # as Lightning logs the numbers of this validation
        for logger in trainer.loggers:
            if log_picture := getattr(logger, "log_picture", None):
                log_picture(self.folder, picture, step)
            elif isinstance(logger, WandbLogger):
                logger.log_image(self.folder, [picture.numpy()], step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(self.folder, picture.numpy(), step, dataformats="HWC")
