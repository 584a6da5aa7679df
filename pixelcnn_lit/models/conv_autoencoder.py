"""Convolutional autoencoder trained on the squared error: the baseline of the paper's figure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from pixelcnn_lit.images import Batch, level_dtype, rescale
from pixelcnn_lit.models.trained import AbstractTrained, OptimizerFactory, SchedulerFactory
from pixelcnn_lit.networks.conditions import mix
from pixelcnn_lit.networks.encoder import ConvAutoencoder


class LitConvAutoencoder(AbstractTrained):
    """A convolutional encoder and a deconvolutional decoder, trained on the squared error.

    Source: van den Oord et al. (2016b), §3.3, the middle column of figure 6. It has the encoder of
    :class:`~pixelcnn_lit.models.autoencoder.LitPixelCNNAutoencoder` but no likelihood: its images
    are the mean of all that fit the code, hence blurred, and bits/dim are not defined.

    Args:
        channels: colours of an image, C.
        num_levels: levels of a colour.
        image_size: [H, W].
        latent_dim: length of the code.
        num_encoder_filters: see :class:`~pixelcnn_lit.networks.encoder.ConvEncoder`; the decoder
            has as many.
        optimizer: makes the optimizer from the parameters; Adam at 1e-3 if None.
        scheduler: makes the learning-rate scheduler from the optimizer, stepped at every step.

    Raises:
        ValueError: naming the argument, if one is out of range.
    """

    validation_metrics = ("val/mse",)

    def __init__(
        self,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        *,
        latent_dim: int = 10,
        num_encoder_filters: int = 64,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        image_size = list(image_size)
        super().__init__(optimizer, scheduler)
        self.num_levels = num_levels
        self.network = ConvAutoencoder(channels, image_size, latent_dim, num_encoder_filters)
        self.metrics = nn.ModuleDict({"val": MeanMetric(), "test": MeanMetric()})
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])

    def squared_error(self, images: Tensor) -> Tensor:
        """Mean squared error of the reconstruction of each image.

        Args:
            images: levels (B, C, H, W).

        Returns:
            (B,), in units of [-1, 1]: black against white is 4.
        """
        x = rescale(images, self.num_levels)
        return (self.network(x) - x).square().flatten(1).mean(1)

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B, latent_dim) of levels (B, C, H, W), without gradients."""
        with torch.no_grad():
            return self.network.encoder(rescale(images.to(self.device), self.num_levels))

    def decode(self, codes: Tensor) -> Tensor:
        """The one image of each code (B, latent_dim), as levels (B, C, H, W)."""
        with torch.no_grad():
            x = self.network.decoder(codes.to(self.device))
        top = self.num_levels - 1
        return ((x + 1) * (top / 2)).round().clamp(0, top).to(level_dtype(self.num_levels))

    def interpolate(self, first: Tensor, second: Tensor, num_steps: int) -> Tensor:
        """The images on the way from codes to others, (num_steps, B, C, H, W).

        Raises:
            ValueError: if the shapes differ or there are too few steps.
        """
        return torch.stack([self.decode(codes) for codes in mix(first, second, num_steps)])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, the mean squared error of the batch."""
        loss = self.squared_error(batch["image"]).mean()
        self.log("train/mse", loss, batch_size=len(batch["image"]), prog_bar=True)
        return loss

    def _measure(self, stage: str, batch: Batch) -> None:
        metric = self.metrics[stage]
        metric.update(self.squared_error(batch["image"]))  # type: ignore[operator]
        self.log(f"{stage}/mse", metric, on_step=False, on_epoch=True, prog_bar=True)  # type: ignore[arg-type]
