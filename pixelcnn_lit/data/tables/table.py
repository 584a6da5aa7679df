"""Row-group reader: tables in files or of `datasets`, read one row group at a time.

Memory is bounded by the largest row group, and any of them can be read again: after a dropped
connection, or when a run resumes inside it.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixelcnn_lit.data.tables.files import LocalFile, RemoteFile, Stream, is_remote

_GROUP_SIZE = 1000  # rows of a table of `datasets`, which has no row groups, that are read at once


class AbstractTable(ABC):
    """Rows in groups.

    Attributes:
        is_remote: whether reading goes over a network.
        features: what the columns mean.
        group_sizes: rows of each group, shape (num_groups,).
        group_starts: number of the first row of each group, shape (num_groups,).
    """

    is_remote: bool = False
    features: datasets.Features
    group_sizes: NDArray[np.int64]
    group_starts: NDArray[np.int64]

    @abstractmethod
    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of one row group, in row order.

        Args:
            group: 0 … num_groups−1.
            columns: their names.
        """

    @abstractmethod
    def where(self, row: int) -> str:
        """Where a row comes from, for messages.

        Args:
            row: its number in the table.
        """

    @abstractmethod
    def fingerprint(self, notes: Path) -> str:
        """A digest of the content: another content gives another digest.

        Args:
            notes: folder that remembers the digests of large files.
        """

    def group_of(self, row: int) -> int:
        """The group of a row, by its number in the table."""
        return int(np.searchsorted(self.group_starts, row, side="right")) - 1


class ParquetTable(AbstractTable):
    """Parquet files, local paths or URLs.

    Footers are read once and kept; a file is open only while one of its row groups is read. So
    there may be more files than a process may open, and threads and forked workers share nothing.

    Args:
        paths: paths or URLs, in reading order.
        num_retries: how often to try again when a remote read fails.

    Raises:
        OptionError: if a local file is not a complete parquet file, or a remote one cannot be read.
    """

    def __init__(self, paths: Sequence[str], num_retries: int) -> None:
        self.is_remote = any(map(is_remote, paths))
        self._paths = list(paths)
        self._files = [
            RemoteFile(path, num_retries) if is_remote(path) else LocalFile(path) for path in paths
        ]
        footers = [file.read(_footer) for file in self._files]
        self.features = _features(footers[0].schema.to_arrow_schema())
        self._footers = footers
        self._groups = [(f, g) for f, one in enumerate(footers) for g in range(one.num_row_groups)]
        sizes = [footers[f].row_group(g).num_rows for f, g in self._groups]
        self.group_sizes = np.array(sizes, np.int64)
        self.group_starts = np.cumsum(self.group_sizes) - self.group_sizes

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of one row group.

        Raises:
            OptionError: if it is damaged, cannot be reached, or is no longer the file of the start.
        """
        file, place = self._groups[group]

        def reader(stream: Stream) -> pa.Table:
            # pre_buffer fetches columns that lie side by side in one request. One thread: the
            # process may be a forked worker, and there are others beside it.
            remote = is_remote(self._paths[file])
            parquet = pq.ParquetFile(stream, metadata=self._footers[file], pre_buffer=remote)
            return parquet.read_row_group(place, columns=list(columns), use_threads=False)

        return self._files[file].read(reader)

    def where(self, row: int) -> str:
        """File and row within the file."""
        file, place = self._groups[self.group_of(row)]
        first = self.group_starts[self.group_of(row) - place]
        return f"{self._paths[file]} row {row - first}"

    def fingerprint(self, notes: Path) -> str:
        """Of all bytes of local files; of remote ones all that is known without fetching them."""
        digest = hashlib.blake2b(digest_size=16)
        for file, footer in zip(self._files, self._footers, strict=True):
            digest.update(file.fingerprint(notes).encode())
            content = pa.BufferOutputStream()
            footer.write_metadata_file(content)
            digest.update(content.getvalue())
        return digest.hexdigest()


class DatasetTable(AbstractTable):
    """A map-style ``datasets.Dataset``, wherever it came from; a group is a run of rows.

    Args:
        dataset: with its picture columns not decoded.
        name: for messages.
    """

    def __init__(self, dataset: datasets.Dataset, name: str) -> None:
        self.features = dataset.features
        self._dataset = dataset.with_format("arrow")
        self._name = name
        self.group_starts = np.arange(0, len(dataset), _GROUP_SIZE, dtype=np.int64)
        self.group_sizes = np.diff(self.group_starts, append=len(dataset))

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of a run of rows."""
        start = int(self.group_starts[group])
        columns_only = self._dataset.select_columns(list(columns))
        rows: object = columns_only[start : start + int(self.group_sizes[group])]
        assert isinstance(rows, pa.Table)
        return rows

    def where(self, row: int) -> str:
        """Name of the set, row, and the picture's file if it has one."""
        group = self.group_of(row)
        rows = self.read(group, self._pictures) if self._pictures else pa.table({})
        cells = [rows[key][row - self.group_starts[group]].as_py() for key in self._pictures]
        paths = [f"({cell['path']})" for cell in cells if cell is not None]
        return " ".join([f"{self._name} row {row}", *paths])

    def fingerprint(self, notes: Path) -> str:
        """Of the table, and of size and time of every picture file that it only points to."""
        return self._identity

    @property
    def _pictures(self) -> list[str]:
        return [k for k, feature in self.features.items() if isinstance(feature, datasets.Image)]

    @cached_property
    def _identity(self) -> str:
        """Kept, since splits that are shares of the same rows ask for it again."""
        digest = hashlib.blake2b(self._dataset._fingerprint.encode(), digest_size=16)
        for group in range(len(self.group_sizes) if self._pictures else 0):
            rows = self.read(group, self._pictures)
            for picture in (cell for key in self._pictures for cell in rows[key].to_pylist()):
                if picture is not None and picture["bytes"] is None:
                    status = Path(picture["path"]).stat()
                    identity = (picture["path"], status.st_size, status.st_mtime_ns)
                    digest.update(repr(identity).encode())
        return digest.hexdigest()


def _footer(stream: Stream) -> pq.FileMetaData:
    return pq.ParquetFile(stream).metadata


def _features(schema: pa.Schema) -> datasets.Features:
    """What the columns mean: as ``datasets`` wrote it into the file, else read off their types."""
    if schema.metadata and b"huggingface" in schema.metadata:
        info = json.loads(schema.metadata[b"huggingface"])["info"]
        return datasets.Features.from_dict(info["features"])
    return datasets.Features.from_arrow_schema(schema)
