"""Reconstructions: pictures of what an autoencoder keeps of an image."""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from lightning import LightningModule
from torch import Tensor

from pixelcnn_lit.callbacks.epoch_pictures import AbstractEpochPictures
from pixelcnn_lit.images import Batch, image_grid
from pixelcnn_lit.messages import OptionError, check_at_least
from pixelcnn_lit.models import LitConvAutoencoder, LitPixelCNNAutoencoder

Autoencoder = LitPixelCNNAutoencoder | LitConvAutoencoder


class Reconstructions(AbstractEpochPictures):
    """Saves ``reconstructions/epoch=NNN.png`` with the averaged weights, on rank 0.

    From the top: ``num_images`` validation images, of as many classes as there are; ``num_draws``
    rows of images drawn from their codes; and ``num_pairs`` rows that each lead from one of the
    images to another, with draws from the codes between theirs (van den Oord et al. 2016b,
    figures 6 and 5). No use is made of torch's global random numbers, so that a run with pictures
    and one without train alike.

    Args:
        num_images: columns; at least 4.
        num_draws: rows of draws. One for an autoencoder whose decoder draws nothing.
        num_pairs: rows of interpolations, at most half of ``num_images``.
        every_n_epochs: how often; the last epoch is always drawn.
        seed: the draws of different epochs start from the same random numbers, so that they can be
            compared.
    """

    folder = "reconstructions"

    def __init__(
        self,
        num_images: int = 8,
        num_draws: int = 3,
        num_pairs: int = 3,
        every_n_epochs: int = 10,
        seed: int = 0,
    ) -> None:
        check_at_least("callbacks.reconstructions.num_images", num_images, 4)
        check_at_least("callbacks.reconstructions.num_draws", num_draws, 1)
        check_at_least("callbacks.reconstructions.num_pairs", num_pairs, 0)
        if 2 * num_pairs > num_images:
            raise OptionError(
                f"callbacks.reconstructions.num_pairs={num_pairs}: num_images={num_images} has"
                f" {num_images // 2} pairs"
            )
        super().__init__(every_n_epochs)
        self.num_images = num_images
        self.num_draws = num_draws
        self.num_pairs = num_pairs
        self.seed = seed

    def choose(self, model: LightningModule, batch: Batch) -> Tensor:
        """The first images, of data with labels one of every class in turn."""
        number = min(self.num_images, len(batch["image"]))
        if "label" not in batch:
            return torch.arange(number)
        labels = batch["label"]
        return torch.argsort(turns(labels) * (labels.max() + 1) + labels, stable=True)[:number]

    def picture(self, model: LightningModule, batch: Batch) -> Tensor:
        """The grid, uint8 (height, width, 3), below the images of ``batch``."""
        model = cast(Autoencoder, model)
        generator = torch.Generator().manual_seed(self.seed)
        images = batch["image"].to(model.device)
        draws = draw_each(model, images, self.num_draws, generator)
        between = self._interpolations(model, images, generator)
        tiles = torch.cat([images, *draws, between])
        num_levels = cast(int, model.hparams["num_levels"])
        return image_grid(tiles, num_levels, num_columns=len(images))

    def _interpolations(
        self, model: Autoencoder, images: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Row after row: an image, draws on the way, another image."""
        num_pairs = min(self.num_pairs, len(images) // 2)
        num_steps = len(images) - 2
        if num_steps < 2:
            return images[:0]
        first, second = images[0 : 2 * num_pairs : 2], images[1 : 2 * num_pairs : 2]
        codes = model.encode(first), model.encode(second)
        if isinstance(model, LitConvAutoencoder):
            steps = model.interpolate(*codes, num_steps)
        else:
            steps = model.interpolate(*codes, num_steps, generator=generator)
        return rearrange(torch.cat([first[None], steps, second[None]]), "s n ... -> (n s) ...")


def draw_each(
    model: Autoencoder, images: Tensor, num_draws: int, generator: torch.Generator
) -> Tensor:
    """Images drawn from the codes of others.

    Args:
        model: encodes and draws.
        images: uint8 levels (N, C, H, W).
        num_draws: for each image; a decoder that draws nothing gives the same again.
        generator: seeds the draws.

    Returns:
        uint8 levels (num_draws, N, C, H, W).
    """
    codes = model.encode(images).repeat(num_draws, 1)
    if isinstance(model, LitConvAutoencoder):
        drawn = model.decode(codes)
    else:
        drawn = model.decode(codes, generator=generator)
    return drawn.unflatten(0, (num_draws, len(images)))


def turns(labels: Tensor) -> Tensor:
    """How many examples of the same class came before each: (B,) for labels (B,)."""
    return (labels[:, None] == labels).tril(-1).sum(1)
