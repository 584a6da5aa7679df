"""Tables on disk or on the network, read block by block: a row group, or a run of rows.

Whatever reads a data set here asks for one block at a time, so memory is bounded by the largest
block and any block can be read again: after a dropped connection, or when a run resumes inside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixelcnn_lit.data.tables.digests import file_digest
from pixelcnn_lit.data.tables.remote import ChangedFileError, RemoteFile
from pixelcnn_lit.data.tables.retrying import Retries, is_remote
from pixelcnn_lit.messages import OptionError

_TABLE_BLOCK = 1000  # rows of a table that are read at once
_MAX_OPEN = 16  # files on disk that a thread keeps open


class AbstractRows(ABC):
    """Rows in blocks.

    Attributes:
        is_remote: whether reading goes over a network.
        features: what the columns mean.
        block_sizes: rows of each block, shape (num_blocks,).
        block_starts: number of the first row of each block, shape (num_blocks,).
    """

    is_remote: bool = False
    features: datasets.Features
    block_sizes: NDArray[np.int64]
    block_starts: NDArray[np.int64]

    @abstractmethod
    def read(self, block: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of one block, in row order.

        Args:
            block: 0 … num_blocks−1.
            columns: their names.
        """

    @abstractmethod
    def where(self, block: int, row: int) -> str:
        """Where a row comes from, for messages.

        Args:
            block: 0 … num_blocks−1.
            row: its place in the block.
        """

    @abstractmethod
    def fingerprint(self, digests: Path) -> str:
        """A digest of the content: another content gives another digest.

        Args:
            digests: folder that remembers the digests of large files.
        """


class ParquetRows(AbstractRows):
    """Parquet files, local paths or URLs; a block is a row group.

    Args:
        files: paths or URLs, in reading order.
        retries: how often and how patiently to try again when a remote read fails.

    Raises:
        OptionError: if a local file is not a complete parquet file, or a remote one cannot be read.
    """

    def __init__(self, files: Sequence[str], retries: Retries) -> None:
        self.files = list(files)
        self.is_remote = any(map(is_remote, self.files))
        self._retries = retries
        self._handles = _Handles()
        self._remote: dict[str, RemoteFile] = {}
        self._metadata: dict[str, pq.FileMetaData] = {}
        self._groups: list[tuple[int, int, int]] = []  # file, row group in it, first row in it
        sizes: list[int] = []
        footers = hashlib.blake2b(digest_size=16)
        for number, file in enumerate(self.files):
            metadata, schema = self._footer(file)
            if number == 0:
                self.features = _features(schema)
            first = 0
            for group in range(metadata.num_row_groups):
                self._groups.append((number, group, first))
                sizes.append(metadata.row_group(group).num_rows)
                first += sizes[-1]
                footers.update(
                    json.dumps(metadata.row_group(group).to_dict(), default=str).encode()
                )
        self._footers = footers.hexdigest()
        self.block_sizes = np.array(sizes, np.int64)
        self.block_starts = np.cumsum(self.block_sizes) - self.block_sizes

    def read(self, block: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of one row group.

        Raises:
            OptionError: if it is damaged, cannot be reached, or is no longer the file of the start.
        """
        number, group, _ = self._groups[block]
        file = self.files[number]

        def attempt() -> pa.Table:
            try:
                # One thread: the process may be a forked worker, and there are others beside it.
                return self._opened(file).read_row_group(
                    group, columns=list(columns), use_threads=False
                )
            except Exception:
                self._handles.forget(file)
                raise

        if is_remote(file):
            return self._retries(attempt, file)
        try:
            return attempt()
        except (OSError, pa.ArrowException) as error:
            raise OptionError(f"{self.where(block, 0)} ff. cannot be read ({error})") from error

    def where(self, block: int, row: int) -> str:
        """File and row within the file."""
        number, _, first = self._groups[block]
        return f"{self.files[number]} row {first + row}"

    def fingerprint(self, digests: Path) -> str:
        """Of all bytes of local files; of remote ones all that is known without fetching them."""
        digest = hashlib.blake2b(self._footers.encode(), digest_size=16)
        for file in self.files:
            remote = self._remote.get(file)
            known = file_digest(Path(file), digests) if remote is None else repr(remote)
            digest.update(known.encode())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_handles": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update({**state, "_handles": _Handles()})

    def _footer(self, file: str) -> tuple[pq.FileMetaData, pa.Schema]:
        def attempt() -> tuple[pq.FileMetaData, pa.Schema]:
            parquet = self._opened(file)
            return parquet.metadata, parquet.schema_arrow

        if is_remote(file):
            return self._retries(attempt, file)
        try:
            return attempt()
        except pa.ArrowInvalid as error:
            raise OptionError(f"{file} is not a complete parquet file ({error})") from error

    def _opened(self, file: str) -> pq.ParquetFile:
        """The open file of this process and thread: neither may share another's connection.

        Raises:
            ChangedFileError: if it is not the file that was opened first.
        """
        opened = self._handles.find(file)
        return self._open(file) if opened is None else opened

    def _open(self, file: str) -> pq.ParquetFile:
        remote = self._remote.get(file, RemoteFile(file)) if is_remote(file) else None
        source = file if remote is None else remote.open()
        opened = pq.ParquetFile(source, pre_buffer=remote is not None)
        if self._metadata.setdefault(file, opened.metadata) != opened.metadata:
            raise ChangedFileError(f"{file} has changed since this run opened it")
        if remote is not None:  # kept only now: what came before may have been no parquet
            self._remote[file] = remote
        self._handles.keep(file, opened, on_disk=isinstance(source, str | pa.NativeFile))
        return opened


class _Handles(threading.local):
    """The open files of one thread, which close with it.

    Those on disk take a descriptor each, and room if they were fetched: few of them stay open.
    Those read over the network part by part take neither, and opening them again takes requests.
    """

    def __init__(self) -> None:
        self._start()

    def find(self, file: str) -> pq.ParquetFile | None:
        """The file if it is open."""
        if self._pid != os.getpid():  # we were forked
            self._start()
        if file in self._on_disk:
            self._on_disk[file] = self._on_disk.pop(file)
        return self._on_disk.get(file) or self._elsewhere.get(file)

    def keep(self, file: str, opened: pq.ParquetFile, *, on_disk: bool) -> None:
        """Closes the one not used for longest if too many are open."""
        (self._on_disk if on_disk else self._elsewhere)[file] = opened
        if len(self._on_disk) > _MAX_OPEN:
            self._on_disk.pop(next(iter(self._on_disk))).close(force=True)

    def forget(self, file: str) -> None:
        """To be opened anew."""
        self._on_disk.pop(file, None)
        self._elsewhere.pop(file, None)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._on_disk: dict[str, pq.ParquetFile] = {}  # the one used last comes last
        self._elsewhere: dict[str, pq.ParquetFile] = {}


class TableRows(AbstractRows):
    """A map-style ``datasets.Dataset``, wherever it came from; a block is a run of rows.

    Args:
        dataset: with its picture columns not decoded.
        name: for messages.
    """

    def __init__(self, dataset: datasets.Dataset, name: str) -> None:
        self.features = dataset.features
        self._dataset = dataset.with_format("arrow")
        self._name = name
        self.block_starts = np.arange(0, len(dataset), _TABLE_BLOCK, dtype=np.int64)
        self.block_sizes = np.diff(self.block_starts, append=len(dataset))

    def read(self, block: int, columns: Sequence[str]) -> pa.Table:
        """The named columns of a run of rows."""
        start = int(self.block_starts[block])
        columns_only = self._dataset.select_columns(list(columns))
        table: object = columns_only[start : start + int(self.block_sizes[block])]
        assert isinstance(table, pa.Table)
        return table

    def where(self, block: int, row: int) -> str:
        """Name of the set, row, and the picture's file if it has one."""
        number = int(self.block_starts[block]) + row
        cells = [
            self.read(block, [key])[key][row].as_py()
            for key, feature in self.features.items()
            if isinstance(feature, datasets.Image)
        ]
        paths = [f"({cell['path']})" for cell in cells if cell is not None]
        return " ".join([f"{self._name} row {number}", *paths])

    def fingerprint(self, digests: Path) -> str:
        """Of the table, and of size and time of every picture file that it only points to."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        """Kept, since splits that are shares of the same rows ask for it again."""
        digest = hashlib.blake2b(self._dataset._fingerprint.encode(), digest_size=16)
        pictures = [k for k, f in self.features.items() if isinstance(f, datasets.Image)]
        for block in range(len(self.block_sizes) if pictures else 0):
            table = self.read(block, pictures)
            for picture in (cell for key in pictures for cell in table[key].to_pylist()):
                if picture is not None and picture["bytes"] is None:
                    status = Path(picture["path"]).stat()
                    identity = (picture["path"], status.st_size, status.st_mtime_ns)
                    digest.update(repr(identity).encode())
        return digest.hexdigest()


def _features(schema: pa.Schema) -> datasets.Features:
    """What the columns mean: as ``datasets`` wrote it into the file, else read off their types."""
    if schema.metadata and b"huggingface" in schema.metadata:
        info = json.loads(schema.metadata[b"huggingface"])["info"]
        return datasets.Features.from_dict(info["features"])
    return datasets.Features.from_arrow_schema(schema)
