"""Decoded-image cache: made once, mapped into memory, believed only if complete.

A cache is a folder named after a digest of the data's content and of every option that changes a
byte. It is written under another name, flushed to the disk and then renamed, so a folder with the
right name is complete whatever happened to the process that made it. A lock, which the system
releases when its holder dies, keeps two processes from doing the same work.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from pixelcnn_lit.data.examples import ArrayExamples
from pixelcnn_lit.data.tables.cache_dir import writing_in
from pixelcnn_lit.data.tables.encoded import DecodedRows, EncodedSplit, report_skipped
from pixelcnn_lit.data.workers import from_workers
from pixelcnn_lit.files import flush
from pixelcnn_lit.progress import progress

log = logging.getLogger(__name__)

_FORMAT = 3  # raise when the same options would give other bytes
_DESCRIPTION = "cache.json"  # the shapes of the arrays by name
_DTYPES = {"image": np.uint8, "label": np.dtype("<i8"), "embedding": np.dtype("<f4")}


def cached_examples(split: EncodedSplit, folder: Path, num_workers: int) -> ArrayExamples | None:
    """The split as arrays, decoded now or at an earlier time; found, it costs no reading.

    Args:
        split: what to decode.
        folder: holds all caches.
        num_workers: processes that decode.

    Returns:
        The arrays, or None if the split holds no rows.

    Raises:
        OptionError: if ``folder`` has no room for it or cannot be written.
    """
    with writing_in(folder):
        options = (_FORMAT, split.selection, split.decoder, split.embedding_dim, split.on_corrupt)
        cache = folder / hashlib.blake2b(repr(options).encode(), digest_size=16).hexdigest()
        if (examples := _opened(cache)) is not None or len(split) == 0:
            return examples
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache.with_suffix(".lock")):
            if (examples := _opened(cache)) is None:
                _make(split, cache, num_workers)
                examples = _opened(cache)
    assert examples is not None
    return examples


def _opened(cache: Path) -> ArrayExamples | None:
    """The arrays of a cache, or None if it is not there or its files are cut off."""
    try:
        description = json.loads((cache / _DESCRIPTION).read_text())
        arrays = {name: _mapped(cache, name, shape) for name, shape in description.items()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        log.warning("Decoding again: cache %s is damaged (%s)", cache, error)
        return None
    if "label" in arrays:  # small, and read often
        arrays["label"] = np.array(arrays["label"])
    return ArrayExamples(arrays)


def _mapped(cache: Path, name: str, shape: list[int]) -> NDArray:
    if 0 in shape:  # nothing to map
        return np.zeros(shape, _DTYPES[name])
    return np.memmap(cache / f"{name}.bin", _DTYPES[name], mode="r", shape=tuple(shape))


def _make(split: EncodedSplit, cache: Path, num_workers: int) -> None:
    """Decode into a folder that gets its name at the end."""
    unfinished = cache.with_suffix(".unfinished")
    for remains in (unfinished, cache):
        shutil.rmtree(remains, ignore_errors=True)
    try:
        unfinished.mkdir()
        _write(split, unfinished, num_workers)
        flush(unfinished)
        unfinished.rename(cache)
        flush(cache.parent)
    finally:  # after Ctrl-C, too, give back what room was taken
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(split: EncodedSplit, folder: Path, num_workers: int) -> None:
    """A file of bytes for each array, then their description.

    Written plainly, not through a mapping: a full disk then raises instead of killing us.
    """
    needed = len(split) * split.decoder.channels * int(np.prod(split.decoder.image_size))
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes needed")
    groups = np.flatnonzero(split.counts)

    def decoded(worker: int, num_workers: int) -> Iterator[DecodedRows]:
        for group in groups[worker::num_workers]:
            yield split.decode(split.read(int(group)))

    files: dict[str, IO[bytes]] = {}
    shapes: dict[str, list[int]] = {}
    num_skipped = 0
    with ExitStack() as closing, progress("Decoding once", len(split), "images") as advance:
        for rows in from_workers(decoded, min(num_workers, len(groups))):
            num_skipped = report_skipped(rows.skipped, num_skipped)
            for name, array in rows.arrays.items():
                if name not in files:
                    file = (folder / f"{name}.bin").open("wb")
                    files[name], shapes[name] = closing.enter_context(file), [0, *array.shape[1:]]
                files[name].write(np.ascontiguousarray(array, _DTYPES[name]).data)
                shapes[name][0] += len(array)
            advance(len(rows.numbers) + len(rows.skipped))
    if num_skipped:
        log.warning("%d corrupt pictures were left out of %d", num_skipped, len(split))
    (folder / _DESCRIPTION).write_text(json.dumps(shapes))
    for file in folder.iterdir():
        flush(file)
