"""Image data sets in Hugging Face's formats, and the embedded digits, as one data module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import datasets
import numpy as np

from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.data.decoding import Binarize, ImageDecoder, Resize
from pixelcnn_lit.data.digits import CLASS_NAMES, digits
from pixelcnn_lit.data.examples import AbstractExamples, ArrayExamples
from pixelcnn_lit.data.retrying import Retries
from pixelcnn_lit.data.rows import AbstractRows
from pixelcnn_lit.data.selection import RowFilter, wanted_labels
from pixelcnn_lit.data.source import Split, open_rows, split_name


class HFImageDataModule(AbstractImageDataModule):
    """TODO."""

    def __init__(
        self,
        path: str,
        *,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        num_classes: int | None = None,
        embedding_dim: int | None = None,
        splits: Mapping[str, str] | None = None,
        image_key: str | None = None,
        label_key: str | None = None,
        classes: Sequence[str | int] | None = None,
        max_examples: int | None = None,
        resize: Resize | None = None,
        convert_channels: bool = False,
        quantize: bool = False,
        binarize: Binarize | None = None,
        flip: bool = False,
        val_fraction: float = 0.1,
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
        self.path = path
        self._splits = splits
        self._image_key = image_key
        self._label_key = label_key
        self._classes = classes
        self._max_examples = max_examples
        self._val_fraction = val_fraction
        self._decoder = ImageDecoder(
            channels,
            num_levels,
            (self.image_size[0], self.image_size[1]),
            resize,
            convert_channels,
            quantize,
            binarize,
        )

    @property
    def class_names(self) -> list[str] | None:
        if self.path == "digits":
            return CLASS_NAMES
        feature = self._features[self._label_key or "label"]
        names = list(feature.names)
        labels = self._labels
        return names if labels is None else [names[label] for label in labels]

    @cached_property
    def _rows(self) -> dict[str, AbstractRows]:
        return open_rows(self.path, Retries())

    @property
    def _features(self) -> datasets.Features:
        return next(iter(self._rows.values())).features

    @property
    def _labels(self) -> tuple[int, ...] | None:
        if self._classes is None:
            return None
        key = self._label_key or "label"
        return wanted_labels(self._classes, self._features[key], key)

    def _open(self, split: Split) -> AbstractExamples | None:
        if self.path == "digits":
            return ArrayExamples(*digits(split))
        name = split_name(split, list(self._rows), self._splits)
        carved = split_name("val", list(self._rows), self._splits) is None
        fractions = (0.0, 1.0)
        if carved and split == "val":
            name, fractions = "train", (0.0, self._val_fraction)
        elif carved and split == "train":
            fractions = (self._val_fraction, 1.0)
        if name is None:
            return None
        rows = self._rows[name]
        row_filter = RowFilter(
            self._label_key or "label", self._labels, self._max_examples, fractions
        )
        images, labels = [], []
        for block in range(len(rows.block_sizes)):
            table = rows.read(block, ["image", "label"])
            selected = row_filter.select(rows, block, table)
            encoded = table["image"].take(selected.positions).to_pylist()
            labels.append(selected.labels)
            images += [
                self._decoder(cell, rows.where(block, int(row)))
                for cell, row in zip(encoded, selected.positions, strict=True)
            ]
        return ArrayExamples(np.stack(images), np.concatenate(labels))
