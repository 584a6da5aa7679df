"""Pictures of what the model draws, next to what it should draw."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from einops import rearrange
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from PIL import Image
from torch import Tensor

from pixelcnn_lit.images import image_grid
from pixelcnn_lit.models import AbstractLitModel

MIN_WIDTH = 640  # pixels of a picture, so that 8×8 images can be seen


@runtime_checkable
class PictureLogger(Protocol):
    """A logger that also takes pictures."""

    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Logs ``picture``, uint8 (height, width, 3)."""
        ...


class SampleGrid(Callback):
    """Saves ``samples/epoch=NNN.png`` with the averaged weights, on rank 0.

    With labels: ``num_columns`` classes, real images of each in the top rows and as many drawn by
    the model for the same class below, as in the QuickDraw recipe. Without labels: only drawn
    images. Random numbers are set aside while it draws, so that a run with pictures and one
    without train alike.

    Args:
        num_columns: images per row; classes shown.
        num_rows: rows of real images, and rows of drawn ones.
        every_n_epochs: how often; the last epoch is always drawn.
        temperature: of the model's draws; 1 is the model itself.
        seed: the draws of different epochs start from the same random numbers, so that they can be
            compared.
    """

    def __init__(
        self,
        num_columns: int = 10,
        num_rows: int = 2,
        every_n_epochs: int = 10,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        for name, value in [
            ("num_columns", num_columns),
            ("num_rows", num_rows),
            ("every_n_epochs", every_n_epochs),
        ]:
            if value < 1:
                raise ValueError(f"callbacks.samples.{name}={value}: must be 1 or more")
        self.num_columns = num_columns
        self.num_rows = num_rows
        self.every_n_epochs = every_n_epochs
        self.temperature = temperature
        self.seed = seed
        self._seen: list[dict[str, Tensor]] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: dict[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps real images to show, from the first few batches."""
        if self._is_due(trainer) and len(self._seen) < 8:
            self._seen.append(dict(batch))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws while the averaged weights are still in place."""
        if not self._is_due(trainer) or not self._seen:
            return
        batch = {name: torch.cat([part[name] for part in self._seen]) for name in self._seen[0]}
        self._seen = []
        picture = self.picture(cast(AbstractLitModel, pl_module), batch)
        path = (
            Path(trainer.default_root_dir) / "samples" / f"epoch={trainer.current_epoch:03d}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.cpu().numpy()).save(path)
        for logger in trainer.loggers:
            if isinstance(logger, PictureLogger):
                # the step under which Lightning logs the numbers of this validation
                logger.log_picture("samples", picture, trainer.global_step - 1)

    def picture(self, model: AbstractLitModel, batch: dict[str, Tensor]) -> Tensor:
        """The grid.

        Args:
            model: draws the images.
            batch: real images to choose from.

        Returns:
            uint8 picture (height, width, 3).
        """
        key = model.condition.batch_key
        if key == "label":
            chosen = choose_per_class(batch["label"], self.num_columns, self.num_rows)
            real, cond = batch["image"][chosen], batch["label"][chosen]
            drawn = self._draw(model, len(chosen), cond)
            images = torch.cat([real, drawn.to(real.device)])
            num_columns = len(chosen) // self.num_rows
        else:
            num_columns = self.num_columns
            number = 2 * self.num_rows * num_columns
            cond = None if key is None else batch[key][torch.arange(number) % len(batch[key])]
            images = self._draw(model, number, cond)
        picture = image_grid(images, model.likelihood.num_levels, num_columns=num_columns)
        return enlarge(picture, MIN_WIDTH)

    def _draw(self, model: AbstractLitModel, number: int, cond: Tensor | None) -> Tensor:
        generator = torch.Generator(model.device).manual_seed(self.seed)
        return model.sample(number, cond, temperature=self.temperature, generator=generator)

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return False
        epoch = trainer.current_epoch + 1
        return epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs


def enlarge(picture: Tensor, width: int) -> Tensor:
    """Repeats the pixels of a small picture (height, width, 3) up to about ``width`` of them."""
    factor = max(1, width // picture.shape[1])
    return picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def choose_per_class(labels: Tensor, num_classes: int, num_each: int) -> Tensor:
    """Indices of images, row by row: every column one class, every row one image of each.

    Args:
        labels: (B,) class of each image.
        num_classes: at most this many classes, the first that occur.
        num_each: images per class; one that occurs less often is repeated.

    Returns:
        (num_each * number of classes,) indices into ``labels``.
    """
    columns = []
    for label in labels.unique()[:num_classes]:
        indices = (labels == label).nonzero().flatten()
        columns.append(indices[torch.arange(num_each, device=labels.device) % len(indices)])
    return rearrange(torch.stack(columns), "c r -> (r c)")
