"""Row-group reader: tables in files or of `datasets`, read one row group at a time.

Memory is bounded by the largest row group, and any of them can be read again: after a dropped
connection, or when a run resumes inside it.
"""

from __future__ import annotations

import hashlib
import itertools
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
        """The named columns of one row group (0 … num_groups−1), in row order."""

    @abstractmethod
    def where(self, row: int) -> str:
        """Where the row of a number in the table comes from, for messages."""

    @abstractmethod
    def fingerprint(self, notes: Path) -> str:
        """A digest of the content; the folder ``notes`` remembers those of large files."""

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
        footers = [file.read(lambda f: pq.ParquetFile(f).metadata) for file in self._files]
        self.features = datasets.Features.from_arrow_schema(footers[0].schema.to_arrow_schema())
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
        dataset: its pictures are decoded here, after rows have been selected.
        name: for messages.
    """

    def __init__(self, dataset: datasets.Dataset, name: str) -> None:
        self._picture_keys = [
            key for key, feature in dataset.features.items() if isinstance(feature, datasets.Image)
        ]
        for key in self._picture_keys:
            dataset = dataset.cast_column(key, datasets.Image(decode=False))
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
        cells = [column[row - self.group_starts[group]] for column in self._pictures(group)]
        paths = [f"({cell['path']})" for cell in cells if cell is not None]
        return " ".join([f"{self._name} row {row}", *paths])

    def fingerprint(self, notes: Path) -> str:
        """Of the table, and of size and time of every picture file that it only points to."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        """Kept, since splits that are shares of the same rows ask for it again."""
        digest = hashlib.blake2b(self._dataset._fingerprint.encode(), digest_size=16)
        for group in range(len(self.group_sizes)):
            for picture in itertools.chain(*self._pictures(group)):
                if picture is not None and picture["bytes"] is None:
                    status = Path(picture["path"]).stat()
                    identity = (picture["path"], status.st_size, status.st_mtime_ns)
                    digest.update(repr(identity).encode())
        return digest.hexdigest()

    def _pictures(self, group: int) -> list[list]:
        """The cells of each picture column in a group, encoded."""
        return [self.read(group, [key])[key].to_pylist() for key in self._picture_keys]
