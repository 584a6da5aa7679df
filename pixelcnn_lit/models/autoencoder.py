"""PixelCNN autoencoder as a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from pixelcnn_lit.models.model import AbstractLitModel
from pixelcnn_lit.models.tables import Options
from pixelcnn_lit.models.trained import OptimizerFactory, SchedulerFactory
from pixelcnn_lit.networks.base import evaluating
from pixelcnn_lit.networks.conditions import CodeCondition
from pixelcnn_lit.networks.encoder import ConvEncoder


@final
class LitPixelCNNAutoencoder(AbstractLitModel):
    """A short code of an image, and a PixelCNN that draws images with that code.

    Source: van den Oord et al. (2016b), Conditional Image Generation with PixelCNN Decoders, §2.4.

    Encoder and decoder learn together, from the decoder's likelihood alone: details that the
    decoder predicts from the pixels before need no room in the code, which is left for what the
    image shows. The images of one code differ, unlike those of a decoder trained on squared error.
    The code is its only condition: it takes no labels, vectors or maps beside it.

    Its bits/dim are those of an image whose code is known for nothing: they say how well it
    learns, and cannot be compared with those of the other models.

    Args:
        channels: colours of an image, C.
        num_levels: levels of a colour.
        image_size: [H, W].
        latent_dim: length of the code; the paper has 10 and 100.
        num_encoder_filters: see :class:`~pixelcnn_lit.networks.encoder.ConvEncoder`.
        network: name and options of the decoder: "pixelcnn", "gated", "pp"; None for "gated".
        likelihood: name and options: "softmax", "bernoulli", "logistic_mixture",
            "channel_logistic_mixture"; None for "softmax".
        input: name and options: "levels".
        optimizer: makes the optimizer from the parameters; Adam at 1e-3 if None.
        scheduler: makes the learning-rate scheduler from the optimizer, stepped at every step.

    Raises:
        ValueError: naming the argument, if one is out of range.
    """

    def __init__(
        self,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        *,
        latent_dim: int = 10,
        num_encoder_filters: int = 64,
        network: Options | None = None,
        likelihood: Options | None = None,
        input: Options | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        condition = CodeCondition(latent_dim)
        super().__init__(
            channels,
            num_levels,
            image_size,
            condition,
            network={"name": "gated", **(network or {})},
            likelihood=likelihood or {"name": "softmax"},
            input=input,
            optimizer=optimizer,
            scheduler=scheduler,
            own_options={"latent_dim": latent_dim, "num_encoder_filters": num_encoder_filters},
        )
        # after the decoder, which so begins with the weights it would have without an encoder
        condition.encoder = ConvEncoder(channels, image_size, latent_dim, num_encoder_filters)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes of images.

        Args:
            images: levels (B, C, H, W).

        Returns:
            Floats (B, latent_dim) on the model's device.
        """
        x = self.input(images.to(self.device))
        with evaluating(self):
            codes = self.condition(None, x)
        assert codes is not None
        return codes

    def decode(self, codes: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """An image drawn for each code; again and again they differ.

        Args:
            codes: floats (B, latent_dim).
            generator: seeds the images; torch's global generator if None.

        Returns:
            levels (B, C, H, W) on the model's device.
        """
        return self.sample(len(codes), codes, generator=generator)
