"""Data source: from a path, a hub id or a URL to the table of each split."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import datasets
from datasets.exceptions import DatasetsError
from datasets.packaged_modules.cache.cache import Cache
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import httpx

from pixelcnn_lit.data.tables.files import is_remote
from pixelcnn_lit.data.tables.retrying import UnreachableError
from pixelcnn_lit.data.tables.table import AbstractTable, DatasetTable, ParquetTable
from pixelcnn_lit.messages import OptionError, one_line

log = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
DataFiles = str | Sequence[str] | Mapping[str, str | Sequence[str]]

_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}

_UNREACHABLE = (
    OSError,
    RuntimeError,
    DatasetsError,
    HFValidationError,
    UnreachableError,
    httpx.HTTPError,  # the hub's client lets it through when a connection breaks
)


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Args:
        path: hub id, folder, file, URL of a parquet file, or a format name with ``data_files``.
        name: configuration of the data set, where it has several.
        data_files: files, patterns or URLs, perhaps by split.
        revision: of a hub id: branch, tag or commit.
        streaming: read remote files where they are; otherwise download the data set first.
        num_retries: patience with the network.
    """

    path: str
    name: str | None
    data_files: DataFiles | None
    revision: str | None
    streaming: bool
    num_retries: int

    def open(self) -> dict[str, AbstractTable]:
        """The table of every split, by the data set's own names of its splits.

        Raises:
            OptionError: if there is nothing there, or it cannot be reached.
        """
        try:
            addresses = self._addresses()
            if addresses is not None:
                return self._parquet(addresses)
            with _errors_only("huggingface_hub"):  # it tells of every attempt
                return self._resolved()
        except _UNREACHABLE as error:
            raise OptionError(self._unreachable(error)) from error

    def _resolved(self) -> dict[str, AbstractTable]:
        """As ``datasets`` finds the files: parquet is read in place, all else becomes a table."""
        path = self.path
        data_files = self.data_files
        if Path(path).expanduser().exists():
            path = str(Path(path).expanduser())
            if Path(path).is_file():
                path, data_files = Path(path).suffix.lstrip("."), path
        builder = self._builder(path, data_files)
        files = {str(split): list(f) for split, f in (builder.config.data_files or {}).items()}
        remote = any(is_remote(file) for names in files.values() for file in names)
        if isinstance(builder, Parquet) and (self.streaming or not remote):
            return self._parquet(files)
        if self.streaming and remote:
            raise OptionError(
                f"streaming=true reads parquet, and path={self.path} is not; say streaming=false"
            )
        builder.download_and_prepare()
        loaded = builder.as_dataset()
        assert isinstance(loaded, datasets.DatasetDict)
        return {str(split): DatasetTable(_undecoded(d), self.path) for split, d in loaded.items()}

    def _builder(self, path: str, data_files: DataFiles | None) -> datasets.DatasetBuilder:
        try:
            builder = datasets.load_dataset_builder(
                path, self.name, data_files=data_files, revision=self.revision
            )
        except HFValidationError:
            raise
        except ValueError as error:
            if "Couldn't find cache" in str(error):  # nor is the hub reached
                raise ConnectionError(one_line(error)) from error
            given = {"path": self.path, "name": self.name, "data_files": self.data_files}
            options = " ".join(f"{key}={value}" for key, value in given.items() if value)
            raise OptionError(f"{options}: {one_line(error)}") from error
        # without the hub ``datasets`` gives the newest of what it kept, whatever was asked for
        if isinstance(builder, Cache) and self.revision not in (None, builder.hash):
            raise ConnectionError(
                f"the hub cannot be asked what revision={self.revision} is; kept here is the "
                f"commit {builder.hash}"
            )
        return builder

    def _parquet(self, files: Mapping[str, Sequence[str]]) -> dict[str, AbstractTable]:
        return {split: ParquetTable(names, self.num_retries) for split, names in files.items()}

    def _addresses(self) -> dict[str, list[str]] | None:
        """Addresses of parquet files by split, if the options spell them out; needs no look-up."""
        files = self.data_files
        if files is None and is_remote(self.path):
            files = self.path
        elif files is None or self.path != "parquet":
            return None
        by_split = files if isinstance(files, Mapping) else {"train": files}
        listed = {s: [f] if isinstance(f, str) else list(f) for s, f in by_split.items()}
        every = [file for files in listed.values() for file in files]
        spelled_out = all(is_remote(f) and not f.startswith("hf:") and "*" not in f for f in every)
        return listed if spelled_out else None

    def _unreachable(self, error: Exception) -> str:
        reason = one_line(error)
        if isinstance(error, UnreachableError):
            pass  # says it all
        elif self.path.startswith((".", "/", "~")) or self.path.count("/") > 1:
            reason = f"no data there ({reason})"
        elif "scripts are no longer supported" not in reason:
            reason = f"neither a folder here nor to be had from the hub ({reason})"
        return (
            f"path={self.path}: {reason}; connect to the network, set data.path=DIR to a local "
            "copy, or use data=digits, which needs neither"
        )


@contextmanager
def _errors_only(library: str) -> Iterator[None]:
    """Inside, a library tells nothing less than errors."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def split_name(
    split: Split, available: Sequence[str], splits: Mapping[str, str] | None
) -> str | None:
    """What the data set calls a split, or None if it has none.

    Args:
        split: in our words.
        available: the data set's own names of its splits.
        splits: names given by the user, which come before the usual ones.

    Raises:
        OptionError: if ``splits`` names one that does not exist.
    """
    if splits is None or split not in splits:
        return next((name for name in _NAMES[split] if name in available), None)
    name = splits[split]
    if name not in available:
        raise OptionError(
            f"splits.{split}={name} does not exist; this data set has {', '.join(available)}"
        )
    return name


def _undecoded(dataset: datasets.Dataset) -> datasets.Dataset:
    """Pictures stay files: they are decoded here, after rows have been selected."""
    for key, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(key, datasets.Image(decode=False))
    return dataset
