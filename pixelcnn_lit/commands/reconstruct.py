"""Draw what two autoencoders keep of test images, side by side.

From left to right: the image, its reconstruction by an autoencoder trained on the squared error,
and images that the PixelCNN autoencoder draws from its code (van den Oord et al. 2016b, figure 6).

Examples:
    pixelcnn-lit reconstruct autoencoder=runs/autoencoder-digits/… baseline=runs/conv_auto…/…
    pixelcnn-lit reconstruct autoencoder=A.ckpt baseline=B.ckpt data=mnist num_draws=4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from einops import rearrange
from omegaconf import DictConfig
from torch import Tensor

from pixelcnn_lit import configuration
from pixelcnn_lit.callbacks.reconstructions import draw_each
from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.drawing.output_folder import picture_file, writing_to
from pixelcnn_lit.drawing.pictures import write_picture
from pixelcnn_lit.images import image_grid
from pixelcnn_lit.matching import check_fits
from pixelcnn_lit.messages import check_at_least
from pixelcnn_lit.models import LitConvAutoencoder, LitPixelCNNAutoencoder
from pixelcnn_lit.models.loading import load_one_of, torch_device


@dataclass(frozen=True)
class ReconstructOptions:
    """What conf/reconstruct.yaml has beside the data.

    Args:
        autoencoder: run folder or checkpoint of a LitPixelCNNAutoencoder.
        baseline: run folder or checkpoint of a LitConvAutoencoder.
        output: picture file to write.
        num_images: rows, the first test images.
        num_draws: images drawn for each.
        seed: of the draws.
        device: where to compute.
    """

    autoencoder: str
    baseline: str
    output: str
    num_images: int
    num_draws: int
    seed: int
    device: Literal["cpu", "gpu"]

    def __post_init__(self) -> None:
        check_at_least("num_images", self.num_images, 1)
        check_at_least("num_draws", self.num_draws, 1)


def reconstruct(config: DictConfig) -> None:
    """Writes the picture.

    Raises:
        OptionError: naming the option, if one is out of range, a checkpoint is none of its model or
            does not fit the data.
    """
    options = configuration.read_options(ReconstructOptions, config)
    output = picture_file(options.output, [".png", ".jpg", ".webp"])
    autoencoder = load_one_of([LitPixelCNNAutoencoder], options.autoencoder, "autoencoder")
    baseline = load_one_of([LitConvAutoencoder], options.baseline, "baseline")
    data = cast(AbstractImageDataModule, configuration.build(config, "data"))
    for name, model in [("autoencoder", autoencoder), ("baseline", baseline)]:
        check_fits(model, data, name)
    device = torch_device(options.device)
    models = autoencoder.to(device), baseline.to(device)
    images = data.first_examples("test", options.num_images)["image"].to(device)
    generator = torch.Generator().manual_seed(options.seed)
    picture = three_columns(*models, images, options.num_draws, generator)
    with writing_to(output):
        write_picture(output, picture.cpu())
    print(f"{output}: image | squared error | {options.num_draws} draws")


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


COMMAND = configuration.Command(reconstruct, ReconstructOptions, __doc__)
