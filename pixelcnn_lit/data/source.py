"""From a path, a hub id or a URL to the rows of each split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pixelcnn_lit.data.retrying import Retries
from pixelcnn_lit.data.rows import AbstractRows, ParquetRows

Split = Literal["train", "val", "test"]

_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


def local_parquet(folder: Path) -> dict[str, list[str]]:
    """The parquet files of a folder by the split that their names begin with or lie under."""
    files: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        relative = file.relative_to(folder).as_posix()
        words = re.split(r"[^a-z]+", relative.lower())
        split = next((word for word in words for n in _NAMES.values() if word in n), "train")
        files.setdefault(split, []).append(str(file))
    return files


def open_rows(path: str, retries: Retries) -> dict[str, AbstractRows]:
    """The rows of every split of a data set, by the set's own names of its splits.

    Raises:
        ValueError: if there is nothing at ``path``.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"path={path}: no such folder; set data.path=DIR or use data=digits")
    files = local_parquet(folder)
    if not files:
        raise ValueError(f"path={path}: no parquet files there; set data.path=DIR or data=digits")
    return {split: ParquetRows(names, retries) for split, names in files.items()}


def split_name(
    split: Split, available: Sequence[str], splits: Mapping[str, str] | None
) -> str | None:
    """What the data set calls a split, or None if it has none.

    Raises:
        ValueError: if ``splits`` names one that does not exist.
    """
    if splits is not None:
        name = splits.get(split)
        if name is not None and name not in available:
            raise ValueError(
                f"splits.{split}={name} does not exist; this data set has {', '.join(available)}"
            )
        return name
    return next((name for name in _NAMES[split] if name in available), None)
