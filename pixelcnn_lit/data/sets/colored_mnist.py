"""Coloured MNIST: digits as inverted regions of random photograph crops, 2 bits per colour.

The recipe: a digit is scaled to 64×64 and binarised at one half; a random 64×64 crop of a
photograph has its colours inverted where the digit is; the result is reduced to 28×28 by area and
each colour quantised. The photographs are the two that come with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from pixelcnn_lit.data.abstract import AbstractImageDataModule, check_one_of
from pixelcnn_lit.data.examples import ArrayExamples
from pixelcnn_lit.data.hf_datamodule import HFImageDataModule
from pixelcnn_lit.data.randomness import uniforms
from pixelcnn_lit.data.tables.source import Split

_LARGE = 64  # side of the crops and of the scaled digits
_SIDE = 28


class ColoredMNISTDataModule(AbstractImageDataModule):
    """MNIST digits inverted into crops of photographs; see the recipe above.

    Args:
        path: MNIST as a hub id, folder or file, 28×28 grey.
        channels: 3.
        num_levels: levels per colour, 2 … 256; the recipe has 4.
        image_size: [28, 28].
        num_classes: 10, or None where labels play no role.
        embedding_dim: None; there are no embeddings.
        splits: the data set's own names for "train", "val", "test".
        max_examples: only the first so many rows of each split.
        val_fraction: share of the training rows that validates.
        color_seed: decides photographs and crops.
        batch_size: images per step of all processes together.
        num_workers: processes per rank that decode MNIST.
        seed: decides the order.
        cache_dir: folder of decoded caches; None for the usual one.

    Raises:
        OptionError: for a value out of range, or data that do not fit.
    """

    def __init__(
        self,
        path: str,
        *,
        channels: int = 3,
        num_levels: int = 4,
        image_size: Sequence[int] = (28, 28),
        num_classes: int | None = 10,
        embedding_dim: None = None,
        splits: Mapping[str, str] | None = None,
        max_examples: int | None = None,
        val_fraction: float = 0.1,
        color_seed: int = 0,
        batch_size: int = 64,
        num_workers: int = 2,
        seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        facts = (channels, num_levels, image_size, num_classes, embedding_dim)
        super().__init__(*facts, batch_size, seed)
        check_one_of("channels", channels, (3,))
        check_one_of("image_size", self.image_size, ([_SIDE, _SIDE],))
        check_one_of("embedding_dim", embedding_dim, (None,))
        self._color_seed = color_seed
        self._grey = HFImageDataModule(
            path,
            channels=1,
            num_levels=256,
            image_size=[28, 28],
            num_classes=num_classes,
            splits=splits,
            max_examples=max_examples,
            val_fraction=val_fraction,
            num_workers=num_workers,
            cache_dir=cache_dir,
        )

    @property
    def class_names(self) -> list[str] | None:
        """The digits."""
        return self._grey.class_names

    def _open(self, split: Split) -> ArrayExamples | None:
        grey = self._grey.examples(split)
        if grey is None:
            return None
        assert isinstance(grey, ArrayExamples)
        # The same number must not mean the same crop in another split.
        seed = 3 * self._color_seed + ("train", "val", "test").index(split)
        choices = uniforms("colour", seed, 0, np.arange(len(grey)), 3)
        photographs = load_sample_images().images
        colored = [
            _colored(digit[0], photographs[int(which * len(photographs))], place, self.num_levels)
            for digit, (which, *place) in zip(grey.arrays["image"], choices, strict=True)
        ]
        return ArrayExamples({**grey.arrays, "image": np.stack(colored)})


def _colored(
    digit: NDArray[np.uint8], photograph: NDArray[np.uint8], place: list[float], num_levels: int
) -> NDArray[np.uint8]:
    """One digit (28, 28) on a photograph's crop at two numbers in [0, 1); levels (3, 28, 28)."""
    top = int(place[0] * (photograph.shape[0] - _LARGE + 1))
    left = int(place[1] * (photograph.shape[1] - _LARGE + 1))
    crop = photograph[top : top + _LARGE, left : left + _LARGE]
    large = Image.fromarray(digit).resize((_LARGE, _LARGE), Image.Resampling.BILINEAR)
    inside = np.asarray(large)[..., None] > 127  # a byte above one half
    picture = Image.fromarray(np.where(inside, 255 - crop, crop))
    small = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.uint16)
    return (small * num_levels // 256).astype(np.uint8).transpose(2, 0, 1)
