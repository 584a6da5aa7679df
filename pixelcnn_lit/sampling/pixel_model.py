"""Autoregressive model of images: an input, a causal network and a likelihood."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pixelcnn_lit.likelihoods import AbstractLikelihood, AbstractPixels
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.networks.inputs import AbstractInput


@dataclass(frozen=True)
class PixelModel:
    """What a walk needs to know: levels → floats → parameters → distribution, and the size.

    Example:
        >>> import torch
        >>> from pixelcnn_lit.likelihoods import Softmax
        >>> from pixelcnn_lit.networks import GatedPixelCNN, GatedPixelCNNOptions, OrderedLevels
        >>> likelihood = Softmax(channels=3, num_levels=4)
        >>> options = GatedPixelCNNOptions(num_layers=2, num_filters=6, num_hidden=8)
        >>> network = GatedPixelCNN(options, 3, likelihood.num_params)
        >>> model = PixelModel(OrderedLevels(3, 4), network, likelihood, (5, 7))
        >>> model(torch.zeros(2, 3, 5, 7, dtype=torch.uint8)).batch_shape
        torch.Size([2, 5, 7])

    Attributes:
        input: levels to floats.
        network: floats to parameters; orders the colours exactly if the likelihood does not
            couple them.
        likelihood: parameters to the distribution of a pixel.
        image_size: (H, W).
    """

    input: AbstractInput
    network: AbstractNetwork
    likelihood: AbstractLikelihood
    image_size: tuple[int, int]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.likelihood.channels, *self.image_size)

    def blank(self, num_images: int) -> Tensor:
        """Floats (B, in_channels, H, W) of images that hold nothing, where the network computes."""
        weight = next(self.network.parameters())
        return weight.new_zeros(num_images, self.input.in_channels, *self.image_size)

    def __call__(self, levels: Tensor, cond: Tensor | None = None) -> AbstractPixels:
        """The distribution of every pixel of images (B, C, H, W), given the pixels before it."""
        return self.likelihood(self.network(self.input(levels), cond))
