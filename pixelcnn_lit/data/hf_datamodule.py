"""The data module of images in Hugging Face's formats: hub ids, folders, files and URLs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from pixelcnn_lit.data.abstract import AbstractImageDataModule, check_one_of
from pixelcnn_lit.data.decoded_cache import cached_examples
from pixelcnn_lit.data.examples import AbstractExamples
from pixelcnn_lit.data.streaming import StreamedExamples
from pixelcnn_lit.data.tables.columns import find_columns
from pixelcnn_lit.data.tables.decoding import Binarize, ImageDecoder, Resize
from pixelcnn_lit.data.tables.encoded import EncodedSplit, OnCorrupt
from pixelcnn_lit.data.tables.source import DataFiles, Source, Split
from pixelcnn_lit.data.tables.table import AbstractTable
from pixelcnn_lit.messages import OptionError, check_at_least

_USUAL_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


class HFImageDataModule(AbstractImageDataModule):
    """Hub ids, folders, files and URLs of images; decoded once into memory, or streamed.

    What the model needs to know (``channels`` … ``embedding_dim``) is stated, not guessed, and
    checked against the data: a picture of another size, colour or depth is an error unless an
    option asks for a conversion. Rows are selected before anything is decoded.

    Args:
        path: hub id, folder (parquet, arrow, or class folders of pictures), file, URL of a parquet
            file, or a format ("parquet", "imagefolder" …) whose files ``data_files`` names.
        channels: colours of every image, 1 or 3.
        num_levels: levels per colour, 2 … 256.
        image_size: [H, W].
        num_classes: number of classes after selection; None where labels play no role.
        embedding_dim: length (or number of maps) of each embedding; needs ``embedding_key``.
        name: configuration of the data set, where it has several.
        data_files: files, patterns or URLs, perhaps by split.
        revision: of a hub id: branch, tag or commit.
        splits: the data set's own names for "train", "val", "test"; the usual ones are recognised.
        image_key: picture column; None finds it by its type.
        label_key: label column; None finds it by type or name.
        embedding_key: column of numbers, (D,) or (D, H, W) per row; None for no embedding.
        classes: names or numbers of the classes to keep; they become labels 0, 1, … in this order.
        max_examples: only the first so many rows of each split, counted before ``classes``.
        streaming: True reads files where they are, without downloading, and decodes them in
            every epoch; "remote" does so with remote files only.
        in_memory: decode once into a memory-mapped cache, or in every epoch; None leaves it to
            ``streaming``.
        shuffle_buffer: rows shuffled among each other when decoding in every epoch.
        resize: None, "crop" (cut out the centre) or "scale" (by area, until it covers, then crop).
        convert_channels: turn grey into colour and back, and drop an alpha channel.
        quantize: map bytes onto ``num_levels`` equal shares.
        binarize: "static" (byte > 127.5) or "dynamic" (1 with probability byte/255, drawn anew in
            every training epoch, once and for all in evaluation); needs ``num_levels=2``.
        flip: mirror half of the training images left to right, others in every epoch.
        val_fraction: share of the training rows that validates where the data have no such split;
            the same rows in every run. 0 for none.
        test_fraction: likewise for testing.
        on_corrupt: "raise", or "skip" (each counted in the log).
        num_retries: further attempts at a failed remote read, waiting ever longer.
        batch_size: images per step of all processes together.
        num_workers: processes per rank that decode.
        seed: decides order, flips and dynamic binarisation.
        cache_dir: folder of decoded caches; None for ``$XDG_CACHE_HOME/pixelcnn_lit``.

    Raises:
        OptionError: for a value out of range, here; for what the data contradict, in
            ``prepare_data`` or ``setup``. One line that names option, value and what is allowed.
    """

    def __init__(
        self,
        path: str,
        *,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        num_classes: int | None = None,
        embedding_dim: int | None = None,
        name: str | None = None,
        data_files: DataFiles | None = None,
        revision: str | None = None,
        splits: Mapping[str, str] | None = None,
        image_key: str | None = None,
        label_key: str | None = None,
        embedding_key: str | None = None,
        classes: Sequence[str | int] | None = None,
        max_examples: int | None = None,
        streaming: bool | Literal["remote"] = False,
        in_memory: bool | None = None,
        shuffle_buffer: int = 10_000,
        resize: Resize | None = None,
        convert_channels: bool = False,
        quantize: bool = False,
        binarize: Binarize | None = None,
        flip: bool = False,
        val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        on_corrupt: OnCorrupt = "raise",
        num_retries: int = 5,
        batch_size: int = 64,
        num_workers: int = 2,
        seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        facts = (channels, num_levels, image_size, num_classes, embedding_dim)
        super().__init__(*facts, batch_size, seed, binarize, flip)
        check_one_of("resize", resize, (None, "scale", "crop"))
        check_one_of("streaming", streaming, (True, False, "remote"))
        check_one_of("on_corrupt", on_corrupt, ("raise", "skip"))
        check_one_of("channels", channels, (1, 3))
        check_at_least("shuffle_buffer", shuffle_buffer, 1)
        check_at_least("num_workers", num_workers, 0)
        check_at_least("num_retries", num_retries, 0)
        check_at_least("max_examples", max_examples, 1)
        if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
            raise OptionError(
                f"val_fraction={val_fraction} and test_fraction={test_fraction} must not be "
                "negative and must leave something to train on"
            )
        for own in splits or {}:
            check_one_of("splits", own, tuple(_USUAL_NAMES))
        if (embedding_key is None) != (embedding_dim is None):
            raise OptionError(
                f"embedding_key={embedding_key} and embedding_dim={embedding_dim} go together"
            )
        self._source = Source(path, name, data_files, revision, streaming is not False, num_retries)
        self._streaming = streaming
        self._in_memory = in_memory
        self._splits = splits or {}
        self._val_fraction = val_fraction
        self._test_fraction = test_fraction
        self._shuffle_buffer = shuffle_buffer
        self._num_workers = num_workers
        usual_dir = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "pixelcnn_lit"
        self._cache_dir = Path(usual_dir if cache_dir is None else cache_dir).expanduser()
        self._columns = partial(
            find_columns,
            image_key=image_key,
            label_key=label_key,
            embedding_key=embedding_key,
            classes=classes,
            num_classes=num_classes,
        )
        height, width = self.image_size
        self._rows = partial(
            EncodedSplit,
            max_examples=max_examples,
            num_classes=num_classes,
            decoder=ImageDecoder(
                channels, num_levels, (height, width), resize, convert_channels, quantize, binarize
            ),
            embedding_dim=embedding_dim,
            on_corrupt=on_corrupt,
            notes=self._cache_dir / "digests",
        )

    @property
    def class_names(self) -> list[str] | None:
        """What the labels 0, 1, … stand for, or None where the data do not say."""
        names = self._columns(next(iter(self._tables.values())).features).class_names
        return None if names is None else list(names)

    @cached_property
    def _tables(self) -> dict[str, AbstractTable]:
        """Tables by the data set's own names of its splits."""
        return self._source.open()

    def _open(self, split: Split) -> AbstractExamples | None:
        name, fractions = self._share(split)
        if name is None:
            return None
        table = self._tables[name]
        rows = self._rows(table, self._columns(table.features), fractions=fractions)
        in_memory = self._in_memory
        if in_memory is None:
            in_memory = not (table.is_remote if self._streaming == "remote" else self._streaming)
        if in_memory:
            return cached_examples(rows, self._cache_dir, self._num_workers)
        if len(rows) == 0:
            return None
        some = rows.read(int(rows.counts.argmax()))
        rows.decode(some.slice(0, 1))  # refuses options that do not fit the data before any work
        return StreamedExamples(rows, self._num_workers, self._shuffle_buffer)

    def _share(self, split: Split) -> tuple[str | None, tuple[float, float]]:
        """The data set's name of the split to read, and which share of it."""
        own = {s: self._own_name(s) for s in _USUAL_NAMES}
        test = self._test_fraction if own["test"] is None else 0.0
        val = self._val_fraction if own["val"] is None else 0.0
        if split != "train" and own[split] is not None:
            return own[split], (0.0, 1.0)
        shares = {"test": (0.0, test), "val": (test, test + val), "train": (test + val, 1.0)}
        low, high = shares[split]
        return (own["train"] if high > low else None), (low, high)

    def _own_name(self, split: Split) -> str | None:
        """What the data set calls a split, or None if it has none."""
        if split not in self._splits:
            return next((name for name in _USUAL_NAMES[split] if name in self._tables), None)
        name = self._splits[split]
        if name not in self._tables:
            raise OptionError(
                f"splits.{split}={name} does not exist; this data set has {', '.join(self._tables)}"
            )
        return name
