"""The examples of a split as they lie in their table: selected and counted, not yet decoded."""

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
from pixelcnn_lit.data.tables.digests import remembered
from pixelcnn_lit.data.tables.rows import AbstractRows
from pixelcnn_lit.data.tables.selection import RowFilter
from pixelcnn_lit.messages import OptionError

log = logging.getLogger(__name__)

OnCorrupt = Literal["raise", "skip"]


@dataclass(frozen=True)
class EncodedRows:
    """Rows before decoding, in any order.

    Attributes:
        blocks: which block each row is from, (n,).
        positions: of each row within its block, (n,).
        pictures: their picture files, n of them.
        labels: (n,) or None.
        embeddings: n of them, or None.
    """

    blocks: NDArray[np.int64]
    positions: NDArray[np.int64]
    pictures: pa.Array
    labels: NDArray[np.int64] | None
    embeddings: pa.Array | None

    def __len__(self) -> int:
        """How many rows."""
        return len(self.positions)

    def take(self, indices: NDArray[np.int64]) -> EncodedRows:
        """The rows of an index vector."""
        return EncodedRows(
            self.blocks[indices],
            self.positions[indices],
            self.pictures.take(pa.array(indices)),
            None if self.labels is None else self.labels[indices],
            None if self.embeddings is None else self.embeddings.take(pa.array(indices)),
        )

    def slice(self, start: int, stop: int) -> EncodedRows:
        """Rows ``start`` … ``stop``−1, without copying pictures."""
        return EncodedRows(
            self.blocks[start:stop],
            self.positions[start:stop],
            self.pictures[start:stop],
            None if self.labels is None else self.labels[start:stop],
            None if self.embeddings is None else self.embeddings[start:stop],
        )

    @staticmethod
    def concatenate(parts: Sequence[EncodedRows]) -> EncodedRows:
        """Several as one, in their order; at least one."""
        if len(parts) == 1:
            return parts[0]
        labels = [part.labels for part in parts if part.labels is not None]
        embeddings = [part.embeddings for part in parts if part.embeddings is not None]
        return EncodedRows(
            np.concatenate([part.blocks for part in parts]),
            np.concatenate([part.positions for part in parts]),
            pa.concat_arrays([part.pictures for part in parts]),
            np.concatenate(labels) if labels else None,
            pa.concat_arrays(embeddings) if embeddings else None,
        )


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
        rows: the table.
        row_filter: which rows belong to the split.
        columns: which columns are read.
        decoder: pictures to levels.
        embedding_dim: length of the first axis of every embedding.
        on_corrupt: "raise", or "skip" with a line in the log.
        memory: folder that remembers what was counted.
    """

    rows: AbstractRows
    row_filter: RowFilter
    columns: Columns
    decoder: ImageDecoder
    embedding_dim: int | None
    on_corrupt: OnCorrupt
    memory: Path

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Selected rows of each block, (num_blocks,); remembered where it took a network."""
        if not self.rows.is_remote:
            return self.row_filter.counts(self.rows)
        identity = repr((self.rows.fingerprint(self.memory), self.row_filter))
        counts = remembered(
            self.memory, identity, lambda: json.dumps(self.row_filter.counts(self.rows).tolist())
        )
        return np.array(json.loads(counts), dtype=np.int64)

    def __len__(self) -> int:
        """How many selected rows there are."""
        return int(self.counts.sum())

    def read(self, block: int) -> EncodedRows:
        """The selected rows of a block; rejected ones cost no decoding."""
        names = (self.columns.image, self.columns.label, self.columns.embedding)
        table = self.rows.read(block, [name for name in names if name is not None])
        chosen = self.row_filter.select(self.rows, block, table)
        if len(chosen.positions) < len(table):
            table = table.take(pa.array(chosen.positions))
        embedding = self.columns.embedding
        return EncodedRows(
            np.full(len(chosen.positions), block),
            chosen.positions,
            _one_array(table[self.columns.image]),
            chosen.labels,
            None if embedding is None else _one_array(table[embedding]),
        )

    def check_first(self) -> None:
        """Decode one row, so that options that do not fit the data are refused before any work.

        Raises:
            OptionError: as `decode` does.
        """
        first = int(np.flatnonzero(self.counts)[0])
        self.decode(self.read(first).slice(0, 1))

    def decode(self, encoded: EncodedRows) -> DecodedRows:
        """Rows as arrays.

        Raises:
            CorruptImageError: for a corrupt picture, unless ``on_corrupt`` is "skip".
            OptionError: if a picture or embedding is not what the options say.
        """
        images: list[NDArray[np.uint8]] = []
        kept: list[int] = []
        skipped: list[str] = []
        for place, picture in enumerate(encoded.pictures.to_pylist()):
            try:
                images.append(self._decode_one(picture, encoded, place))
                kept.append(place)
            except CorruptImageError as error:
                if self.on_corrupt == "raise":
                    raise
                skipped.append(str(error))
        # before rows are left out: no row would tell their shape
        embeddings = self._embeddings(encoded)
        if skipped:
            encoded = encoded.take(np.array(kept, np.int64))
            embeddings = None if embeddings is None else embeddings[kept]
        shape = (0, self.decoder.channels, *self.decoder.image_size)
        return DecodedRows(
            self.rows.block_starts[encoded.blocks] + encoded.positions,
            np.stack(images) if images else np.zeros(shape, np.uint8),
            encoded.labels,
            embeddings,
            tuple(skipped),
        )

    def next_readable(self, block: int) -> DecodedRows:
        """The first row from a block on that is not corrupt; after the last block comes the first.

        Raises:
            OptionError: if there is none.
        """
        blocks = np.flatnonzero(self.counts)
        for other in np.roll(blocks, -np.searchsorted(blocks, block)):
            encoded = self.read(int(other))
            for place in range(len(encoded)):
                if len(decoded := self.decode(encoded.slice(place, place + 1))):
                    return decoded
        raise OptionError(f"{self.rows.where(block, 0)} ff.: every picture is corrupt")

    def _decode_one(
        self, picture: EncodedImage | bytes | None, encoded: EncodedRows, place: int
    ) -> NDArray[np.uint8]:
        if isinstance(picture, bytes):
            picture = {"bytes": picture, "path": None}
        if picture is None:
            where = self._where(encoded, place)
            raise CorruptImageError(f"{where} has no picture; say on_corrupt=skip to leave it out")
        return self.decoder(picture, lambda: self._where(encoded, place))

    def _where(self, encoded: EncodedRows, place: int) -> str:
        return self.rows.where(int(encoded.blocks[place]), int(encoded.positions[place]))

    def _embeddings(self, encoded: EncodedRows) -> NDArray[np.float32] | None:
        """Lists of lists as one array.

        Raises:
            OptionError: if one is missing, or they are of different lengths or not of length
                ``embedding_dim``.
        """
        embeddings = encoded.embeddings
        if embeddings is None:
            return None
        values = embeddings.storage if isinstance(embeddings, pa.ExtensionArray) else embeddings
        self._check_complete(values, encoded)
        shape = [len(values)]
        while pa.types.is_nested(values.type):
            lengths = {len(row) for row in values}
            if len(lengths) > 1 or (len(shape) == 1 and lengths - {self.embedding_dim}):
                raise OptionError(
                    f"embedding_dim={self.embedding_dim} does not fit embedding_key="
                    f"{self.columns.embedding}, which has rows of length {sorted(lengths)}"
                )
            shape.append(max(lengths, default=0))
            values = values.flatten()
            self._check_complete(values, encoded)
        return values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(shape)

    def _check_complete(self, values: pa.Array, encoded: EncodedRows) -> None:
        """Refuse missing embeddings, and missing numbers within them."""
        if values.null_count:
            first = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
            where = self._where(encoded, first * len(encoded) // len(values))
            raise OptionError(f"embedding_key={self.columns.embedding}: {where} lacks values")


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array: faster to take from than several."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


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
