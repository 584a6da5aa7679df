"""Rows of a split: selected, counted and read without decoding, and decoded when asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixelcnn_lit.data.randomness import uniforms
from pixelcnn_lit.data.tables.cache_dir import memoized
from pixelcnn_lit.data.tables.columns import Columns
from pixelcnn_lit.data.tables.decoding import CorruptImageError, ImageDecoder
from pixelcnn_lit.data.tables.table import AbstractTable
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.progress import progress

log = logging.getLogger(__name__)

OnCorrupt = Literal["raise", "skip"]

_REMOTE_READERS = 16  # a network is mostly waited for


@dataclass(frozen=True)
class DecodedRows:
    """Rows after decoding.

    Attributes:
        numbers: row numbers in the whole table, (n,): the identity of an example.
        arrays: ``image``, uint8 levels (n, C, H, W), and where there are any ``label``, int64
            (n,), and ``embedding``, float32 (n, D) or (n, D, H, W).
        skipped: one line for each row left out because its picture is corrupt.
    """

    numbers: NDArray[np.int64]
    arrays: dict[str, NDArray]
    skipped: list[str]


@dataclass(frozen=True)
class EncodedSplit:
    """The rows of a split, selected before any picture is decoded, and how to decode them.

    Args:
        table: holds them, among others.
        columns: which columns are read, and which labels are wanted: the first becomes 0.
        max_examples: only the first so many rows of the table, counted before labels matter.
        num_classes: labels kept as they are must lie in 0 … num_classes−1; None for any.
        fractions: keep rows whose fixed random number lies in this interval; how a validation
            split is carved out of a training split, the same in every run.
        decoder: pictures to levels.
        embedding_dim: length of the first axis of every embedding.
        on_corrupt: "raise", or "skip" with a line in the log.
        notes: folder that remembers digests and counts.
    """

    table: AbstractTable
    columns: Columns
    max_examples: int | None
    num_classes: int | None
    fractions: tuple[float, float]
    decoder: ImageDecoder
    embedding_dim: int | None
    on_corrupt: OnCorrupt
    notes: Path

    @cached_property
    def selection(self) -> str:
        """What decides which rows are selected: the table's content and options."""
        options = (self.columns, self.max_examples, self.num_classes, self.fractions)
        return repr((self.table.fingerprint(self.notes), *options))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Selected rows of each row group, (num_groups,); remembered where it took a network."""
        if not self.table.is_remote:
            return self._count()
        counts = memoized(self.notes, self.selection, lambda: json.dumps(self._count().tolist()))
        return np.array(json.loads(counts), dtype=np.int64)

    def __len__(self) -> int:
        """How many selected rows there are."""
        return int(self.counts.sum())

    def read(self, group: int) -> pa.Table:
        """The selected rows of a row group; rejected ones cost no decoding.

        Returns:
            Columns ``number`` (of the row in the table), ``image`` (encoded) and, where there are
            any, ``label`` (renumbered) and ``embedding``.

        Raises:
            OptionError: if a row has no label or one out of range.
        """
        names = (self.columns.image, self.columns.label, self.columns.embedding)
        rows = self.table.read(group, [name for name in names if name is not None])
        positions, labels = self._select(group, rows)
        if len(positions) < len(rows):
            rows = rows.take(pa.array(positions))
        selected = {
            "number": pa.array(self.table.group_starts[group] + positions),
            "image": rows[self.columns.image],
        }
        if labels is not None:
            selected["label"] = pa.array(labels)
        if self.columns.embedding is not None:
            selected["embedding"] = rows[self.columns.embedding]
        return pa.table(selected).combine_chunks()  # faster to take from than several chunks

    def decode(self, rows: pa.Table) -> DecodedRows:
        """Rows, as `read` gives them, as arrays.

        Raises:
            CorruptImageError: for a corrupt picture, unless ``on_corrupt`` is "skip".
            OptionError: if a picture or embedding is not what the options say.
        """
        numbers = np.array(rows["number"], np.int64)
        images: list[NDArray[np.uint8]] = []
        corrupt: dict[int, str] = {}
        for place, picture in enumerate(rows["image"].to_pylist()):
            try:
                images.append(self.decoder(picture, partial(self.table.where, int(numbers[place]))))
            except CorruptImageError as error:
                if self.on_corrupt == "raise":
                    raise
                corrupt[place] = str(error)
        keep = np.delete(np.arange(len(numbers)), list(corrupt))
        shape = (-1, self.decoder.channels, *self.decoder.image_size)
        arrays: dict[str, NDArray] = {"image": np.array(images, np.uint8).reshape(shape)}
        if "label" in rows.column_names:
            arrays["label"] = np.array(rows["label"], np.int64)[keep]
        if "embedding" in rows.column_names:
            arrays["embedding"] = self._embeddings(rows)[keep]
        return DecodedRows(numbers[keep], arrays, list(corrupt.values()))

    def next_readable(self, row: int) -> DecodedRows:
        """The first row that is not corrupt, from a row's group on and round to it again.

        Raises:
            OptionError: if there is none.
        """
        groups = np.flatnonzero(self.counts)
        first = np.searchsorted(groups, self.table.group_of(row))
        for group in np.roll(groups, -first):
            rows = self.read(int(group))
            for place in range(len(rows)):
                decoded = self.decode(rows.slice(place, 1))
                if not decoded.skipped:
                    return decoded
        raise OptionError(f"{self.table.where(row)} ff.: every picture is corrupt")

    def _select(
        self, group: int, rows: pa.Table | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Positions of the selected rows within a group and their new labels, if any; both (n,).

        ``rows`` is the group with at least its labels; None if labels do not decide.
        """
        start, size = int(self.table.group_starts[group]), int(self.table.group_sizes[group])
        if self.max_examples is not None:
            size = min(size, max(0, self.max_examples - start))
        keep = np.ones(size, bool)
        low, high = self.fractions
        if (low, high) != (0.0, 1.0):
            numbers = uniforms("split", 0, 0, start + np.arange(size), 1)[:, 0]
            keep = (numbers >= low) & (numbers < high)
        key = self.columns.label
        if key is None or rows is None:
            return np.flatnonzero(keep), None
        if rows[key].null_count:
            raise OptionError(f"label_key={key}: {self.table.where(start)} ff. lack labels")
        labels = rows[key].to_numpy()[:size].astype(np.int64)
        if (wanted := self.columns.labels) is not None:
            new_label = {old: new for new, old in enumerate(wanted)}
            labels = np.array([new_label.get(old, -1) for old in labels.tolist()], np.int64)
            keep &= labels >= 0
        elif self.num_classes is not None:
            wrong = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
            if len(wrong):
                where = self.table.where(start + int(wrong[0]))
                raise OptionError(
                    f"num_classes={self.num_classes}, but {where} has label {labels[wrong[0]]}; "
                    f"allowed are 0 … {self.num_classes - 1}"
                )
        return np.flatnonzero(keep), labels[keep]

    def _count(self) -> NDArray[np.int64]:
        """Selected rows of each group, (num_groups,).

        Labels are read only if they decide it, and only of the groups that ``max_examples`` leaves.
        """
        counts = np.zeros(len(self.table.group_sizes), np.int64)
        if self.columns.label is None or self.columns.labels is None:
            counts[:] = [len(self._select(group, None)[0]) for group in range(len(counts))]
            return counts
        most = np.inf if self.max_examples is None else self.max_examples
        groups = np.flatnonzero(self.table.group_starts < most).tolist()
        labels = [self.columns.label]

        def count(group: int) -> int:
            return len(self._select(group, self.table.read(group, labels))[0])

        with (
            progress("Reading labels", len(groups), "row groups") as advance,
            ThreadPool(_REMOTE_READERS if self.table.is_remote else 1) as pool,
        ):
            for group, number in zip(groups, pool.imap(count, groups), strict=True):
                counts[group] = number
                advance(1)
        return counts

    def _embeddings(self, rows: pa.Table) -> NDArray[np.float32]:
        """Lists of lists as one array; refuses gaps and lengths that differ or are not expected."""
        key, shape = self.columns.embedding, [len(rows)]
        values = rows["embedding"].combine_chunks()
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
        while not values.null_count and pa.types.is_nested(values.type):
            lengths = {len(one) for one in values}
            if len(lengths) > 1 or (len(shape) == 1 and lengths - {self.embedding_dim}):
                raise OptionError(
                    f"embedding_dim={self.embedding_dim} does not fit embedding_key={key}, which "
                    f"has rows of length {sorted(lengths)}"
                )
            shape.append(max(lengths, default=0))
            values = values.flatten()
        if values.null_count:
            first = values.is_null().index(True).as_py() * len(rows) // len(values)
            where = self.table.where(rows["number"][first].as_py())
            raise OptionError(f"embedding_key={key}: {where} lacks values")
        return values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(shape)


def report_skipped(skipped: Sequence[str], num_before: int) -> int:
    """Log a line about every corrupt picture, numbered on from ``num_before``; the new number."""
    for number, line in enumerate(skipped, num_before + 1):
        log.warning("Skipped corrupt picture no. %d: %s", number, line)
    return num_before + len(skipped)
