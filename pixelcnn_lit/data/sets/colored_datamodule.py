"""Coloured MNIST as a data module, made from MNIST while opening it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.data.examples import ArrayExamples
from pixelcnn_lit.data.hf_datamodule import HFImageDataModule
from pixelcnn_lit.data.sets.colored_mnist import colored_digits
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.messages import OptionError

# The backgrounds of a split are its own: the same number must not mean the same crop in another.
_SPLIT_SEEDS: dict[Split, int] = {"train": 0, "val": 1, "test": 2}


class ColoredMNISTDataModule(AbstractImageDataModule):
    """MNIST digits inverted into crops of photographs; see `colored_digits`.

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
        super().__init__(
            channels=channels,
            num_levels=num_levels,
            image_size=image_size,
            num_classes=num_classes,
            embedding_dim=embedding_dim,
            batch_size=batch_size,
            seed=seed,
            binarize=None,
            flip=False,
        )
        if channels != 3 or self.image_size != [28, 28] or embedding_dim is not None:
            raise OptionError(
                f"channels={channels}, image_size={self.image_size}, embedding_dim="
                f"{embedding_dim} do not fit coloured MNIST: 3, [28, 28] and null"
            )
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
        seed = len(_SPLIT_SEEDS) * self._color_seed + _SPLIT_SEEDS[split]
        images = colored_digits(grey.images, np.arange(len(grey)), seed, self.num_levels)
        return ArrayExamples(images, grey.labels)
