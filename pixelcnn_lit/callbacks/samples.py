"""Samples: pictures of what the model draws, next to what it should draw."""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from lightning import LightningModule
from torch import Tensor

from pixelcnn_lit.callbacks.epoch_pictures import AbstractEpochPictures
from pixelcnn_lit.images import Batch, image_grid
from pixelcnn_lit.messages import check_at_least
from pixelcnn_lit.models import AbstractLitModel


class SampleGrid(AbstractEpochPictures):
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

    folder = "samples"

    def __init__(
        self,
        num_columns: int = 10,
        num_rows: int = 2,
        every_n_epochs: int = 10,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_at_least("callbacks.samples.num_columns", num_columns, 1)
        check_at_least("callbacks.samples.num_rows", num_rows, 1)
        super().__init__(every_n_epochs)
        self.num_columns = num_columns
        self.num_rows = num_rows
        self.temperature = temperature
        self.seed = seed

    def choose(self, model: LightningModule, batch: Batch) -> Tensor:
        """The first images of every class shown, or those whose conditions are shown."""
        if cast(AbstractLitModel, model).condition.batch_key != "label":
            return torch.arange(min(len(batch["image"]), 2 * self.num_rows * self.num_columns))
        return choose_per_class(batch["label"], self.num_columns, self.num_rows).unique()

    def picture(self, model: LightningModule, batch: Batch) -> Tensor:
        """The grid, uint8 (height, width, 3); ``batch`` has the real images to choose from."""
        model = cast(AbstractLitModel, model)
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
        return image_grid(images, model.likelihood.num_levels, num_columns=num_columns)

    def _draw(self, model: AbstractLitModel, number: int, cond: Tensor | None) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return model.sample(number, cond, temperature=self.temperature, generator=generator)


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
