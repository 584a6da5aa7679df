"""Data source: from a path, a hub id or a URL to the table of each split."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import datasets
from datasets.exceptions import DatasetsError
from datasets.packaged_modules.cache.cache import Cache
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import httpx

from pixelcnn_lit.data.tables.files import UnreachableError, is_remote
from pixelcnn_lit.data.tables.table import AbstractTable, DatasetTable, ParquetTable
from pixelcnn_lit.messages import OptionError, one_line

Split = Literal["train", "val", "test"]
DataFiles = str | Sequence[str] | Mapping[str, str | Sequence[str]]

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
    """Where a data set comes from, as the options of `HFImageDataModule` say.

    Args:
        streaming: read remote files where they are; otherwise download the data set first.
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
        hub_log = logging.getLogger("huggingface_hub")  # tells of every attempt
        level = hub_log.level
        hub_log.setLevel(logging.ERROR)
        try:
            addresses = self._addresses()
            return self._resolved() if addresses is None else self._parquet(addresses)
        except _UNREACHABLE as error:
            raise OptionError(self._unreachable(error)) from error
        finally:
            hub_log.setLevel(level)

    def _resolved(self) -> dict[str, AbstractTable]:
        """As ``datasets`` finds the files: parquet is read in place, all else becomes a table."""
        path, data_files, here = self.path, self.data_files, Path(self.path).expanduser()
        if here.is_file():
            path, data_files = here.suffix.lstrip("."), str(here)
        elif here.exists():
            path = str(here)
        builder = self._builder(path, data_files)
        files = {str(split): list(f) for split, f in (builder.config.data_files or {}).items()}
        remote = any(map(is_remote, chain.from_iterable(files.values())))
        if isinstance(builder, Parquet) and (self.streaming or not remote):
            return self._parquet(files)
        if self.streaming and remote:
            raise OptionError(
                f"streaming=true reads parquet, and path={self.path} is not; say streaming=false"
            )
        builder.download_and_prepare()
        loaded = builder.as_dataset()
        assert isinstance(loaded, datasets.DatasetDict)
        return {str(split): DatasetTable(part, self.path) for split, part in loaded.items()}

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
        every = chain.from_iterable(listed.values())
        spelled_out = all(is_remote(f) and not f.startswith("hf:") and "*" not in f for f in every)
        return listed if spelled_out else None

    def _unreachable(self, error: Exception) -> str:
        reason = one_line(error)
        if isinstance(error, UnreachableError) or "scripts are no longer supported" in reason:
            pass  # says it all
        elif self.path.startswith((".", "/", "~")) or self.path.count("/") > 1:
            reason = f"no data there ({reason})"
        else:
            reason = f"neither a folder here nor to be had from the hub ({reason})"
        return (
            f"path={self.path}: {reason}; connect to the network, set data.path=DIR to a local "
            "copy, or use data=digits, which needs neither"
        )
