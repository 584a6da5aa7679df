"""The handwritten digits that come with scikit-learn: real data that need no network.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998): 1,797
images of 8×8 pixels, each pixel the number (0 … 16) of ink dots in a 4×4 block, so 17 levels; 10
classes. The splits, of 1,437, 180 and 180 images, are the same in every run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import ClassLabel, Features, Image
from sklearn.datasets import load_digits

from pixelcnn_lit.data.abstract import AbstractImageDataModule, check_one_of
from pixelcnn_lit.data.examples import ArrayExamples
from pixelcnn_lit.data.tables.columns import find_columns
from pixelcnn_lit.data.tables.decoding import Binarize, ImageDecoder
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.messages import check_at_least


class DigitsDataModule(AbstractImageDataModule):
    """8×8 grey digits with 17 levels, which need no network and no files.

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
        num_levels: int = 17,
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
        facts = (channels, num_levels, image_size, num_classes, embedding_dim)
        super().__init__(*facts, batch_size, seed, binarize, flip)
        check_one_of("channels", channels, (1,))
        check_one_of("image_size", self.image_size, ([8, 8],))
        check_one_of("embedding_dim", embedding_dim, (None,))
        check_at_least("max_examples", max_examples, 1)
        names = [str(digit) for digit in range(10)]
        features = Features({"image": Image(), "label": ClassLabel(names=names)})
        self._columns = find_columns(features, classes=classes, num_classes=num_classes)
        self._max_examples = max_examples
        self._decoder = ImageDecoder(1, num_levels, (8, 8), quantize=quantize, binarize=binarize)

    @property
    def class_names(self) -> list[str]:
        """The digits that the labels 0, 1, … stand for."""
        return list(self._columns.class_names or ())

    def _open(self, split: Split) -> ArrayExamples:
        pixels, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
        order = np.random.default_rng(0).permutation(len(pixels))  # never the run's seed
        test, val, train = np.split(order, [180, 360])
        rows = {"train": train, "val": val, "test": test}[split][: self._max_examples]
        chosen = self._columns.labels
        wanted = list(range(10) if chosen is None else chosen)
        rows = rows[np.isin(labels[rows], wanted)]
        images = pixels[rows].reshape(-1, 1, 8, 8)
        if self._decoder.quantize or self._decoder.binarize is not None:
            images = np.round(images * (255 / 16))
        levels = self._decoder.to_levels(images.astype(np.uint8), lambda: "the digits")
        new_labels = [wanted.index(label) for label in labels[rows]]
        return ArrayExamples({"image": levels, "label": np.array(new_labels, np.int64)})
