"""The handwritten digits of scikit-learn as a data module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import ClassLabel

from pixelcnn_lit.data.abstract import AbstractImageDataModule, check_at_least
from pixelcnn_lit.data.examples import ArrayExamples
from pixelcnn_lit.data.sets.digits import CLASS_NAMES, NUM_LEVELS, digits
from pixelcnn_lit.data.tables.decoding import Binarize, ImageDecoder
from pixelcnn_lit.data.tables.selection import wanted_labels
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.messages import OptionError


class DigitsDataModule(AbstractImageDataModule):
    """8×8 grey digits with 17 levels, which need no network and no files; see `digits`.

    Args:
        channels: 1.
        num_levels: 17, or what ``quantize`` or ``binarize`` makes of them.
        image_size: [8, 8].
        num_classes: number of classes after selection; None where labels play no role.
        embedding_dim: None; there are no embeddings.
        classes: the digits to keep; they become labels 0, 1, … in this order.
        max_examples: only the first so many images of each split, counted before ``classes``.
        quantize: map the levels onto ``num_levels`` equal shares.
        binarize: "static" (above half the ink) or "dynamic" (1 with probability ink/16, drawn anew
            in every training epoch, once and for all in evaluation); needs ``num_levels=2``.
        flip: mirror half of the training images left to right, others in every epoch.
        batch_size: images per step of all processes together.
        seed: decides order, flips and dynamic binarisation.

    Raises:
        OptionError: for a value out of range, here; for too few levels, in ``prepare_data`` or
            ``setup``.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        num_levels: int = NUM_LEVELS,
        image_size: Sequence[int] = (8, 8),
        num_classes: int | None = None,
        embedding_dim: None = None,
        classes: Sequence[str | int] | None = None,
        max_examples: int | None = None,
        quantize: bool = False,
        binarize: Binarize | None = None,
        flip: bool = False,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(
            channels=channels,
            num_levels=num_levels,
            image_size=image_size,
            num_classes=num_classes,
            embedding_dim=embedding_dim,
            batch_size=batch_size,
            seed=seed,
            binarize=binarize,
            flip=flip,
        )
        if channels != 1 or self.image_size != [8, 8] or embedding_dim is not None:
            raise OptionError(
                f"channels={channels}, image_size={self.image_size}, embedding_dim="
                f"{embedding_dim} do not fit the digits: 1, [8, 8] and null"
            )
        check_at_least("max_examples", max_examples, 1)
        names = ClassLabel(names=list(CLASS_NAMES))
        self._labels = wanted_labels(CLASS_NAMES if classes is None else classes, names, "label")
        if num_classes not in (None, len(self._labels)):
            raise OptionError(
                f"num_classes={num_classes} is wrong: the data have {len(self._labels)} classes"
            )
        self._max_examples = max_examples
        self._decoder = ImageDecoder(1, num_levels, (8, 8), quantize=quantize, binarize=binarize)

    @property
    def class_names(self) -> list[str]:
        """The digits that the labels 0, 1, … stand for."""
        return [CLASS_NAMES[label] for label in self._labels]

    def _open(self, split: Split) -> ArrayExamples:
        images, labels = digits(split)
        images, labels = images[: self._max_examples], labels[: self._max_examples]
        keep = np.isin(labels, self._labels)
        images, labels = images[keep], [self._labels.index(label) for label in labels[keep]]
        if self._decoder.quantize or self._decoder.binarize is not None:
            images = np.round(images * (255 / (NUM_LEVELS - 1))).astype(np.uint8)
        levels = self._decoder.to_levels(images, lambda: "the digits")
        return ArrayExamples(levels, np.array(labels, np.int64))
