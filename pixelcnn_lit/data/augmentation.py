"""Data augmentation: flips and dynamic binarisation, random yet the same after a resume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelcnn_lit.data.randomness import uniforms
from pixelcnn_lit.data.tables.decoding import Binarize


@dataclass(frozen=True)
class Augmentation:
    """Flips and dynamic binarisation, drawn from (seed, epoch, example).

    Args:
        seed: of the run.
        binarize: "dynamic" draws each pixel as 1 with probability byte/255 (Salakhutdinov and
            Murray, 2008); evaluation draws once, the same in every epoch and run.
        flip: mirror half of the images left to right, others in every epoch, and maps with them.
    """

    seed: int = 0
    binarize: Binarize | None = None
    flip: bool = False

    def __call__(
        self, batch: dict[str, Tensor], indices: NDArray[np.int64], epoch: int
    ) -> dict[str, Tensor]:
        """The batch as the model sees it.

        Args:
            batch: with "image" uint8 (B, C, H, W).
            indices: identity of each example, (B,).
            epoch: counted from 0.
        """
        images = batch["image"]
        if self.binarize == "dynamic":
            numbers = uniforms("binarize", self.seed, epoch, indices, images.shape[1:].numel())
            images = (torch.from_numpy(numbers).view_as(images) * 255 < images).to(torch.uint8)
        batch = {**batch, "image": images}
        if self.flip:
            drawn = uniforms("flip", self.seed, epoch, indices, 1)[:, 0] < 0.5
            mirrored = torch.from_numpy(drawn)[:, None, None, None]
            maps = {name: values for name, values in batch.items() if values.ndim == 4}
            batch |= {name: torch.where(mirrored, x.flip(3), x) for name, x in maps.items()}
        return batch
