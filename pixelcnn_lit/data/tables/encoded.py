"""Selected rows of a table, counted and read without decoding, and decoded when asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixelcnn_lit.data.tables.columns import Columns
from pixelcnn_lit.data.tables.decoding import CorruptImageError, EncodedImage, ImageDecoder
from pixelcnn_lit.data.tables.digests import memoized
from pixelcnn_lit.data.tables.selection import RowFilter
from pixelcnn_lit.data.tables.table import AbstractTable
from pixelcnn_lit.messages import OptionError

log = logging.getLogger(__name__)

OnCorrupt = Literal["raise", "skip"]


@dataclass(frozen=True)
class DecodedRows:
    """Rows after decoding.

    Attributes:
        numbers: row numbers in the whole table, (n,): the identity of an example.
        images: uint8 levels (n, C, H, W).
        labels: int64 (n,) or None.
        embeddings: float32 (n, D) or (n, D, H, W), or None.
        skipped: one line for each row left out because its picture is corrupt.
    """

    numbers: NDArray[np.int64]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    embeddings: NDArray[np.float32] | None
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        """How many rows."""
        return len(self.numbers)


@dataclass(frozen=True)
class EncodedSplit:
    """The rows of a split and how to decode them.

    Args:
        table: holds them, among others.
        row_filter: which rows belong to the split.
        columns: which columns are read.
        decoder: pictures to levels.
        embedding_dim: length of the first axis of every embedding.
        on_corrupt: "raise", or "skip" with a line in the log.
        notes: folder that remembers digests and counts.
    """

    table: AbstractTable
    row_filter: RowFilter
    columns: Columns
    decoder: ImageDecoder
    embedding_dim: int | None
    on_corrupt: OnCorrupt
    notes: Path

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Selected rows of each row group, (num_groups,); remembered where it took a network."""
        if not self.table.is_remote:
            return self.row_filter.counts(self.table)
        identity = repr((self.table.fingerprint(self.notes), self.row_filter))
        counts = memoized(
            self.notes, identity, lambda: json.dumps(self.row_filter.counts(self.table).tolist())
        )
        return np.array(json.loads(counts), dtype=np.int64)

    def __len__(self) -> int:
        """How many selected rows there are."""
        return int(self.counts.sum())

    def read(self, group: int) -> pa.Table:
        """The selected rows of a row group; rejected ones cost no decoding.

        Returns:
            Columns ``number`` (of the row in the table), ``image`` (encoded) and, where there are
            any, ``label`` (renumbered) and ``embedding``.
        """
        names = (self.columns.image, self.columns.label, self.columns.embedding)
        rows = self.table.read(group, [name for name in names if name is not None])
        positions, labels = self.row_filter.select(self.table, group, rows)
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

    def check_first(self) -> None:
        """Decode one row, so that options that do not fit the data are refused before any work.

        Raises:
            OptionError: as `decode` does.
        """
        first = int(np.flatnonzero(self.counts)[0])
        self.decode(self.read(first).slice(0, 1))

    def decode(self, rows: pa.Table) -> DecodedRows:
        """Rows, as `read` gives them, as arrays.

        Raises:
            CorruptImageError: for a corrupt picture, unless ``on_corrupt`` is "skip".
            OptionError: if a picture or embedding is not what the options say.
        """
        numbers = np.array(rows["number"], np.int64)
        labels = np.array(rows["label"], np.int64) if "label" in rows.column_names else None
        embeddings = self._embeddings(rows)
        images: list[NDArray[np.uint8]] = []
        skipped: list[int] = []
        lines: list[str] = []
        for place, picture in enumerate(rows["image"].to_pylist()):
            try:
                images.append(self._decode_one(picture, int(numbers[place])))
            except CorruptImageError as error:
                if self.on_corrupt == "raise":
                    raise
                skipped.append(place)
                lines.append(str(error))
        shape = (-1, self.decoder.channels, *self.decoder.image_size)
        return DecodedRows(
            np.delete(numbers, skipped),
            np.array(images, np.uint8).reshape(shape),
            None if labels is None else np.delete(labels, skipped),
            None if embeddings is None else np.delete(embeddings, skipped, axis=0),
            tuple(lines),
        )

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
                if len(decoded := self.decode(rows.slice(place, 1))):
                    return decoded
        raise OptionError(f"{self.table.where(row)} ff.: every picture is corrupt")

    def _decode_one(self, picture: EncodedImage | bytes | None, row: int) -> NDArray[np.uint8]:
        if isinstance(picture, bytes):
            picture = {"bytes": picture, "path": None}
        if picture is None:
            where = self.table.where(row)
            raise CorruptImageError(f"{where} has no picture; say on_corrupt=skip to leave it out")
        return self.decoder(picture, lambda: self.table.where(row))

    def _embeddings(self, rows: pa.Table) -> NDArray[np.float32] | None:
        """Lists of lists as one array.

        Raises:
            OptionError: if one is missing, or they are of different lengths or not of length
                ``embedding_dim``.
        """
        if "embedding" not in rows.column_names:
            return None
        values = rows["embedding"].combine_chunks()
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
        self._check_complete(values, rows)
        shape = [len(values)]
        while pa.types.is_nested(values.type):
            lengths = {len(one) for one in values}
            if len(lengths) > 1 or (len(shape) == 1 and lengths - {self.embedding_dim}):
                raise OptionError(
                    f"embedding_dim={self.embedding_dim} does not fit embedding_key="
                    f"{self.columns.embedding}, which has rows of length {sorted(lengths)}"
                )
            shape.append(max(lengths, default=0))
            values = values.flatten()
            self._check_complete(values, rows)
        return values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(shape)

    def _check_complete(self, values: pa.Array, rows: pa.Table) -> None:
        """Refuse missing embeddings, and missing numbers within them."""
        if values.null_count:
            first = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
            where = self.table.where(rows["number"][first * len(rows) // len(values)].as_py())
            raise OptionError(f"embedding_key={self.columns.embedding}: {where} lacks values")


def report_skipped(skipped: Sequence[str], num_before: int) -> int:
    """Log every corrupt picture with the running count.

    Args:
        skipped: a line about each.
        num_before: corrupt pictures that were logged before.

    Returns:
        The new count.
    """
    for number, line in enumerate(skipped, num_before + 1):
        log.warning("Skipped corrupt picture no. %d: %s", number, line)
    return num_before + len(skipped)
