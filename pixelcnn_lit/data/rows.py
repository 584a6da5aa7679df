"""Tables on disk or on the network, read block by block: a row group, or a run of rows.

Whatever reads a data set here asks for one block at a time, so memory is bounded by the largest block
and any block can be read again: after a dropped connection, or when a run resumes inside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixelcnn_lit.data.retrying import Retries, is_remote

_TABLE_BLOCK = 1000  # rows of an in-process table that are read at once


class AbstractRows(ABC):
    """Rows in blocks.

    Attributes:
        features: what the columns mean.
        block_sizes: rows of each block, shape (num_blocks,).
        block_starts: number of the first row of each block, shape (num_blocks,).
    """

    features: datasets.Features
    block_sizes: NDArray[np.int64]
    block_starts: NDArray[np.int64]

    @abstractmethod
    def read(self, block: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of one block, in row order."""

    @abstractmethod
    def where(self, block: int, row: int) -> str:
        """Where a row of a block comes from, for messages."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the content: another content gives another digest."""


class ParquetRows(AbstractRows):
    """Parquet files, local paths or URLs; a block is a row group.

    Args:
        files: paths or URLs, in reading order.
        retries: how often and how patiently to try again when a read fails.

    Raises:
        ValueError: if a file is not a complete parquet file.
    """

    def __init__(self, files: Sequence[str], retries: Retries) -> None:
        self.files = list(files)
        self.retries = retries
        self._open_files: dict[tuple[int, str], pq.ParquetFile] = {}
        groups: list[tuple[int, int]] = []
        sizes: list[int] = []
        starts: list[int] = []
        footer = hashlib.blake2b(digest_size=16)
        for number, file in enumerate(self.files):
            metadata, schema = self._footer(file)
            if number == 0:
                self.features = _features(schema)
            file_starts = 0
            for group in range(metadata.num_row_groups):
                groups.append((number, group))
                sizes.append(metadata.row_group(group).num_rows)
                starts.append(file_starts)
                file_starts += sizes[-1]
                footer.update(repr(metadata.row_group(group).to_dict()).encode())
        self._groups = groups
        self._file_rows = starts
        self._footers = footer.hexdigest()
        self.block_sizes = np.array(sizes, np.int64)
        self.block_starts = np.cumsum(self.block_sizes) - self.block_sizes

    def read(self, block: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of one row group."""
        number, group = self._groups[block]
        file = self.files[number]

        def attempt() -> pa.Table:
            try:
                return self._opened(file).read_row_group(
                    group, columns=list(columns), use_threads=False
                )
            except Exception:
                self._open_files.pop((os.getpid(), file), None)
                raise

        return self.retries(attempt, f"{file} row group {group}")

    def where(self, block: int, row: int) -> str:
        """File and row within the file."""
        return f"{self.files[self._groups[block][0]]} row {self._file_rows[block] + row}"

    def fingerprint(self) -> str:
        """Of the bytes of local files; of remote ones, of their address and everything in the footer."""
        digest = hashlib.blake2b(self._footers.encode(), digest_size=16)
        for file in self.files:
            if is_remote(file):
                digest.update(file.encode())
            else:
                with Path(file).open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "blake2b").digest())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open_files": {}}

    def _footer(self, file: str) -> tuple[pq.FileMetaData, pa.Schema]:
        def attempt() -> tuple[pq.FileMetaData, pa.Schema]:
            parquet = self._opened(file)
            return parquet.metadata, parquet.schema_arrow

        return self.retries(attempt, file)

    def _opened(self, file: str) -> pq.ParquetFile:
        """The open file of this process: a forked worker must not share its parent's connection."""
        key = (os.getpid(), file)
        if key not in self._open_files:
            source = fsspec.open(file, "rb").open() if is_remote(file) else file
            try:
                self._open_files[key] = pq.ParquetFile(source)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{file} is not a complete parquet file ({error})") from error
        return self._open_files[key]


class TableRows(AbstractRows):
    """A map-style ``datasets.Dataset``, wherever it came from; a block is a run of rows.

    Args:
        dataset: with its picture column not decoded.
        name: for messages.
        image_key: the picture column; files it names count as content.
    """

    def __init__(self, dataset: datasets.Dataset, name: str, image_key: str) -> None:
        self.features = dataset.features
        self._dataset = dataset.with_format("arrow")
        self._name = name
        self._image_key = image_key
        self.block_starts = np.arange(0, len(dataset), _TABLE_BLOCK, dtype=np.int64)
        self.block_sizes = np.diff(self.block_starts, append=len(dataset))

    def read(self, block: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of a run of rows."""
        start = int(self.block_starts[block])
        table = self._dataset[start : start + int(self.block_sizes[block])]
        assert isinstance(table, pa.Table)
        return table.select(list(columns))

    def where(self, block: int, row: int) -> str:
        """Name of the set, row, and the picture's file if it has one."""
        number = int(self.block_starts[block]) + row
        path = self.read(block, [self._image_key])[self._image_key][row].as_py()["path"]
        return f"{self._name} row {number}" + (f" ({path})" if path else "")

    def fingerprint(self) -> str:
        """Of the table, and of size and time of every picture file that it only points to."""
        digest = hashlib.blake2b(self._dataset._fingerprint.encode(), digest_size=16)
        for block in range(len(self.block_sizes)):
            for picture in self.read(block, [self._image_key])[self._image_key].to_pylist():
                if picture["bytes"] is None:
                    status = Path(picture["path"]).stat()
                    digest.update(
                        f"{picture['path']} {status.st_size} {status.st_mtime_ns}".encode()
                    )
        return digest.hexdigest()


def _features(schema: pa.Schema) -> datasets.Features:
    """What the columns mean: as ``datasets`` wrote it into the file, else read off their types."""
    if schema.metadata and b"huggingface" in schema.metadata:
        info = json.loads(schema.metadata[b"huggingface"])["info"]
        return datasets.Features.from_dict(info["features"])
    return datasets.Features.from_arrow_schema(schema)
