"""PixelCNN autoencoder as a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from pixelcnn_lit.layers.activations import ResnetActivation
from pixelcnn_lit.models.base import AbstractLitModel
from pixelcnn_lit.models.parts import (
    LikelihoodName,
    OptimizerFactory,
    SchedulerFactory,
    make_likelihood,
)
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.networks.conditions import CodeCondition
from pixelcnn_lit.networks.encoder import ConvEncoder
from pixelcnn_lit.networks.gated_pixelcnn import GatedPixelCNN
from pixelcnn_lit.networks.pixelcnn import ActivationName, PixelCNN
from pixelcnn_lit.networks.pixelcnn_pp import PixelCNNPP, check_hierarchies

DecoderName = Literal["pixelcnn", "gated", "pp"]


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
        decoder: "pixelcnn", "gated" or "pp".
        likelihood: "softmax", "bernoulli", "logistic_mixture" or "channel_logistic_mixture"; None
            for "logistic_mixture" with "pp" and "softmax" with the others.
        num_logistic_mix: components of the mixtures; other likelihoods do not read it.
        num_layers: of the decoder, as all up to ``data_init``; None leaves it at the default of
            the decoder's network, and one that the decoder does not have must be None. This one:
            "pixelcnn" and "gated".
        num_filters: all.
        bottleneck: "pixelcnn".
        first_kernel_size: "pixelcnn" and "gated".
        kernel_size: "pixelcnn" and "gated".
        num_hidden: "pixelcnn" and "gated".
        activation: "pixelcnn".
        num_resnet: "pp".
        num_hierarchies: "pp".
        receptive_field_dims: "pp".
        dropout: "pp".
        resnet_activation: "pp".
        weight_norm: "pp".
        data_init: "pp": initialise from the first batch of the training data; None for yes.
        optimizer: makes the optimizer from the parameters; Adam at 1e-3 if None.
        scheduler: makes the learning-rate scheduler from the optimizer, stepped at every step.

    Raises:
        ValueError: naming the argument, if one is out of range or not the decoder's.
    """

    def __init__(
        self,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        *,
        latent_dim: int = 10,
        num_encoder_filters: int = 64,
        decoder: DecoderName = "gated",
        likelihood: LikelihoodName | None = None,
        num_logistic_mix: int = 10,
        num_layers: int | None = None,
        num_filters: int | None = None,
        bottleneck: bool | None = None,
        first_kernel_size: int | None = None,
        kernel_size: int | None = None,
        num_hidden: int | None = None,
        activation: ActivationName | None = None,
        num_resnet: int | None = None,
        num_hierarchies: int | None = None,
        receptive_field_dims: Sequence[int] | None = None,
        dropout: float | None = None,
        resnet_activation: ResnetActivation | None = None,
        weight_norm: bool | None = None,
        data_init: bool | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        image_size = list(image_size)
        if receptive_field_dims is not None:
            receptive_field_dims = list(receptive_field_dims)
        if data_init is not None and decoder != "pp":
            raise ValueError(_not_read("data_init", data_init, decoder))
        usual: LikelihoodName = "logistic_mixture" if decoder == "pp" else "softmax"
        pixels = make_likelihood(likelihood or usual, channels, num_levels, num_logistic_mix)
        network = make_decoder(
            decoder,
            channels,
            pixels.num_params,
            orders_channels=not pixels.couples_channels,
            latent_dim=latent_dim,
            settings={
                "num_layers": num_layers,
                "num_filters": num_filters,
                "bottleneck": bottleneck,
                "first_kernel_size": first_kernel_size,
                "kernel_size": kernel_size,
                "num_hidden": num_hidden,
                "activation": activation,
                "num_resnet": num_resnet,
                "num_hierarchies": num_hierarchies,
                "receptive_field_dims": receptive_field_dims,
                "dropout": dropout,
                "resnet_activation": resnet_activation,
                "weight_norm": weight_norm,
            },
        )
        check_hierarchies(network.num_hierarchies, image_size)
        encoder = ConvEncoder(channels, image_size, latent_dim, num_encoder_filters)
        super().__init__(
            network,
            pixels,
            CodeCondition(encoder, latent_dim),
            image_size=image_size,
            data_init=decoder == "pp" and data_init is not False,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes of images.

        Args:
            images: uint8 levels (B, C, H, W).

        Returns:
            Floats (B, latent_dim) on the model's device.
        """
        x = self._rescale(images.to(self.device))
        with self._evaluating():
            codes = self.condition(None, x)
        assert codes is not None
        return codes

    def decode(self, codes: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """An image drawn for each code; again and again they differ.

        Args:
            codes: floats (B, latent_dim).
            generator: seeds the images; torch's global generator if None.

        Returns:
            uint8 levels (B, C, H, W) on the model's device.
        """
        return self.sample(len(codes), codes, generator=generator)


def make_decoder(
    decoder: DecoderName,
    in_channels: int,
    num_params: int,
    *,
    orders_channels: bool,
    latent_dim: int,
    settings: Mapping[str, object],
) -> AbstractNetwork:
    """The network of that name, conditioned on codes.

    Args:
        decoder: "pixelcnn", "gated" or "pp".
        in_channels: colours, C.
        num_params: parameters per pixel, as the likelihood says.
        orders_channels: let a colour's parameters see the pixel's earlier colours.
        latent_dim: length of the code.
        settings: the arguments of all three networks; those that are None stay at the network's
            defaults.

    Raises:
        ValueError: if there is no such network, or it does not have an argument that is set.
    """
    network_class = decoder_class(decoder)
    given = {name: value for name, value in settings.items() if value is not None}
    for name in given.keys() - inspect.signature(network_class).parameters.keys():
        raise ValueError(_not_read(name, given[name], decoder))
    return network_class(
        in_channels,
        num_params,
        orders_channels=orders_channels,
        cond_channels=latent_dim,
        **given,
    )


def decoder_class(decoder: DecoderName) -> Callable[..., AbstractNetwork]:
    """The network of that name.

    Raises:
        ValueError: if there is none.
    """
    match decoder:
        case "pixelcnn":
            return PixelCNN
        case "gated":
            return GatedPixelCNN
        case "pp":
            return PixelCNNPP
    raise ValueError(f"decoder={decoder!r}: allowed are pixelcnn, gated, pp")


def _not_read(name: str, value: object, decoder: str) -> str:
    return f"{name}={value}: decoder={decoder} does not read it; leave it null"
