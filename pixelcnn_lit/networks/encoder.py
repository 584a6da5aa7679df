"""The two halves of a convolutional autoencoder: image to code, and code to image.

Source: van den Oord et al. (2016b), Conditional Image Generation with PixelCNN Decoders, §2.4 and
§3.3. The paper tells no sizes of its encoder; these are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from pixelcnn_lit.images import height_and_width

COARSEST_SIDE = 4
"""Sides are halved until they are at most this long: what is left still knows where things are."""

WIDEST = 8
"""Filters double with every halving, up to this many times as many as on the image."""

KERNEL_SIZE = 3


class ConvEncoder(nn.Module):
    """Strided convolutions down to a small grid, then one linear map of the whole grid.

    The grid is flattened, not pooled: the code must tell where a stroke lies. Nothing normalises
    the first layer, whose scale tells the brightness of the image; the others are normalised over
    all features of an image, so that its code does not depend on what it is encoded with.

    Example:
        >>> import torch
        >>> ConvEncoder(3, [28, 20], latent_dim=10, num_filters=8)(torch.zeros(2, 3, 28, 20)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, in_channels: int, image_size: Sequence[int], latent_dim: int, num_filters: int = 64
    ) -> None:
        """Build the layers.

        Args:
            in_channels: colours, C.
            image_size: [H, W], any.
            latent_dim: length of the code.
            num_filters: on the finest level, doubled with every halving of the image up to
                ``WIDEST`` times.

        Raises:
            ValueError: naming the argument, if one is below 1.
        """
        super().__init__()
        _check(latent_dim, num_filters)
        shapes = level_shapes(image_size, num_filters)
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, num_filters, KERNEL_SIZE, padding=KERNEL_SIZE // 2),
            nn.SiLU(),
        ]
        for (narrow, *fine), (wide, *coarse) in pairwise(shapes):
            stride = strides(fine, coarse)
            conv = nn.Conv2d(
                narrow, wide, KERNEL_SIZE, stride, padding=KERNEL_SIZE // 2, bias=False
            )
            layers += [conv, nn.GroupNorm(1, wide), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.code = nn.Linear(math.prod(shapes[-1]), latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to codes (B, latent_dim)."""
        return self.code(self.layers(x).flatten(1))


class ConvDecoder(nn.Module):
    """The encoder backwards, with transposed convolutions; every pixel at once.

    The usual decoder of an autoencoder, beside which the paper shows its own. As in the encoder
    nothing normalises the finest level.

    Example:
        >>> import torch
        >>> ConvDecoder(3, [28, 20], latent_dim=10, num_filters=8)(torch.zeros(2, 10)).shape
        torch.Size([2, 3, 28, 20])
    """

    def __init__(
        self, out_channels: int, image_size: Sequence[int], latent_dim: int, num_filters: int = 64
    ) -> None:
        """Build the layers; the arguments are those of :class:`ConvEncoder`.

        Raises:
            ValueError: naming the argument, if one is below 1.
        """
        super().__init__()
        _check(latent_dim, num_filters)
        shapes = level_shapes(image_size, num_filters)[::-1]
        self.coarsest = shapes[0]
        self.start = nn.Linear(latent_dim, math.prod(self.coarsest))
        layers: list[nn.Module] = [nn.SiLU()]
        for (wide, *coarse), (narrow, *fine) in pairwise(shapes):
            stride = strides(fine, coarse)
            # n becomes 2n−1, which is one short where the halved side was even
            missing = [f - ((c - 1) * s + 1) for f, c, s in zip(fine, coarse, stride, strict=True)]
            conv = nn.ConvTranspose2d(
                wide,
                narrow,
                KERNEL_SIZE,
                stride,
                padding=KERNEL_SIZE // 2,
                output_padding=(missing[0], missing[1]),
            )
            finest = (narrow, *fine) == shapes[-1]
            layers += [conv, nn.SiLU()] if finest else [conv, nn.GroupNorm(1, narrow), nn.SiLU()]
        layers.append(nn.Conv2d(num_filters, out_channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2))
        self.layers = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (B, latent_dim) to images (B, C, H, W), about in [-1, 1]."""
        return self.layers(self.start(codes).unflatten(1, self.coarsest))


class ConvAutoencoder(nn.Module):
    """:class:`ConvEncoder` and :class:`ConvDecoder`, one after the other."""

    def __init__(
        self, channels: int, image_size: Sequence[int], latent_dim: int, num_filters: int = 64
    ) -> None:
        """Build both; the arguments are those of :class:`ConvEncoder`."""
        super().__init__()
        self.encoder = ConvEncoder(channels, image_size, latent_dim, num_filters)
        self.decoder = ConvDecoder(channels, image_size, latent_dim, num_filters)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to their reconstructions."""
        return self.decoder(self.encoder(x))


def _check(latent_dim: int, num_filters: int) -> None:
    for name, size in [("latent_dim", latent_dim), ("num_encoder_filters", num_filters)]:
        if size < 1:
            raise ValueError(f"{name}={size}: at least 1")


def level_shapes(image_size: Sequence[int], num_filters: int) -> list[tuple[int, int, int]]:
    """(filters, H, W) of every level, each side halved (rounding up) while it is too long.

    >>> level_shapes([28, 6], 16)
    [(16, 28, 6), (32, 14, 3), (64, 7, 3), (128, 4, 3)]
    """
    height, width = height_and_width(image_size)
    shapes = [(num_filters, height, width)]
    while max(height, width) > COARSEST_SIDE:
        height, width = (-(-n // 2) if n > COARSEST_SIDE else n for n in (height, width))
        shapes.append((num_filters * min(2 ** len(shapes), WIDEST), height, width))
    return shapes


def strides(fine: list[int], coarse: list[int]) -> tuple[int, int]:
    """2 along the sides that are halved, 1 along the others."""
    return (1 if fine[0] == coarse[0] else 2, 1 if fine[1] == coarse[1] else 2)
