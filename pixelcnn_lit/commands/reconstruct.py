"""Draws what two autoencoders keep of test images, side by side.

`pixelcnn-lit reconstruct autoencoder=RUN baseline=RUN data=digits output=FILE` makes the
picture of van den Oord et al. (2016b), figure 6. From left to right: the image, its reconstruction
by an autoencoder trained on the squared error, and several images that the PixelCNN autoencoder
draws from its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from omegaconf import DictConfig

from pixelcnn_lit import configuration
from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.drawing.output_folder import make_folder, writing_to
from pixelcnn_lit.drawing.pictures import write_picture
from pixelcnn_lit.drawing.three_columns import three_columns
from pixelcnn_lit.matching import check_fits
from pixelcnn_lit.messages import OptionError, check_at_least
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
    output = Path(options.output)
    if output.suffix not in (".png", ".jpg", ".webp"):
        raise OptionError(f"output={output}: a file that ends in .png, .jpg or .webp")
    make_folder(output.parent, output)
    autoencoder = load_one_of([LitPixelCNNAutoencoder], options.autoencoder, "autoencoder")
    baseline = load_one_of([LitConvAutoencoder], options.baseline, "baseline")
    data = cast(AbstractImageDataModule, configuration.build(config, "data"))
    for name, model in [("autoencoder", autoencoder), ("baseline", baseline)]:
        check_fits(model, data, name)
    device = torch_device(options.device)
    picture = three_columns(
        autoencoder.to(device),
        baseline.to(device),
        data.first_examples("test", options.num_images)["image"].to(device),
        options.num_draws,
        torch.Generator().manual_seed(options.seed),
    )
    with writing_to(output):
        write_picture(output, picture.cpu())
    print(f"{output}: image | squared error | {options.num_draws} draws")


COMMAND = configuration.Command(reconstruct, ReconstructOptions, __doc__)
