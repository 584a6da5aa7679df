"""Picture of images, squared-error reconstructions and PixelCNN draws, side by side.

van den Oord et al. (2016b), Conditional Image Generation with PixelCNN Decoders, figure 6.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from pixelcnn_lit.callbacks.reconstructions import draw_each
from pixelcnn_lit.images import image_grid
from pixelcnn_lit.models import LitConvAutoencoder, LitPixelCNNAutoencoder


def three_columns(
    autoencoder: LitPixelCNNAutoencoder,
    baseline: LitConvAutoencoder,
    images: Tensor,
    num_draws: int,
    generator: torch.Generator,
) -> Tensor:
    """The picture, a row for every image.

    Args:
        autoencoder: draws the third column.
        baseline: reconstructs the second.
        images: levels (N, C, H, W).
        num_draws: images drawn for each.
        generator: seeds the draws.

    Returns:
        uint8 picture (height, width, 3).
    """
    drawn = draw_each(autoencoder, images, num_draws, generator)
    columns = torch.cat([images[None], draw_each(baseline, images, 1, generator), drawn])
    tiles = rearrange(columns, "column row ... -> (row column) ...")
    num_levels = autoencoder.likelihood.num_levels
    return image_grid(tiles, num_levels, num_columns=2 + num_draws)
