"""Decoded images in a file that is mapped into memory: made once, believed only if complete.

A cache is a folder named after a digest of the data's content and of every option that changes a
byte. It is written under another name, flushed to the disk and then renamed, so a folder with the
right name is complete whatever happened to the process that made it. A lock, which the system
releases when its holder dies, keeps two processes from doing the same work.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset

from pixelcnn_lit.data.examples import ArrayExamples
from pixelcnn_lit.data.streaming import ignore_requeue_signal
from pixelcnn_lit.data.tables.cache_dir import writing_in
from pixelcnn_lit.data.tables.encoded import DecodedRows, EncodedSplit, report_skipped
from pixelcnn_lit.messages import OptionError, duration, say

log = logging.getLogger(__name__)

_FORMAT = 1  # raise when the same options would give other bytes
_DESCRIPTION = "cache.json"
_DTYPES = {"images": np.dtype(np.uint8), "labels": np.dtype("<i8"), "embeddings": np.dtype("<f4")}
_BAR_FROM = 5000  # images: fewer are decoded before a bar could be read
_EVERY = 30.0  # seconds from one line to the next


def cached_examples(split: EncodedSplit, folder: Path, num_workers: int) -> ArrayExamples | None:
    """The split as arrays, decoded now or at an earlier time.

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
        return _found(split, folder, num_workers)


def _found(split: EncodedSplit, folder: Path, num_workers: int) -> ArrayExamples | None:
    """The arrays of the cache, which is made if it is not there; found, it costs no reading."""
    cache = folder / _key(split)
    if (examples := _opened(cache)) is not None:
        return examples
    if len(split) == 0:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(cache.with_suffix(".lock")):
        if (examples := _opened(cache)) is not None:
            return examples
        unfinished = cache.with_suffix(".unfinished")
        for remains in (unfinished, cache):
            shutil.rmtree(remains, ignore_errors=True)
        try:
            _write(split, unfinished, num_workers)
        except BaseException:  # Ctrl-C, too: give back what room was taken
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        unfinished.rename(cache)
        _flush(folder)
    examples = _opened(cache)
    assert examples is not None
    return examples


def _key(split: EncodedSplit) -> str:
    """Digest of content and options."""
    options = (
        _FORMAT,
        split.rows.fingerprint(split.memory),
        split.row_filter,
        split.columns,
        split.decoder,
        split.embedding_dim,
        split.on_corrupt,
    )
    return hashlib.blake2b(repr(options).encode(), digest_size=16).hexdigest()


def _opened(cache: Path) -> ArrayExamples | None:
    """The arrays of a cache, or None if it is not there or its files are not of the right size."""
    try:
        description = json.loads((cache / _DESCRIPTION).read_text())
        arrays = {name: _mapped(cache, name, shape) for name, shape in description.items()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        log.warning("Decoding again: cache %s is damaged (%s)", cache, error)
        return None
    labels, embeddings = arrays.get("labels"), arrays.get("embeddings")
    return ArrayExamples(arrays["images"], None if labels is None else np.array(labels), embeddings)


def _mapped(cache: Path, name: str, shape: list[int]) -> NDArray:
    file = cache / f"{name}.bin"
    expected = int(np.prod(shape)) * _DTYPES[name].itemsize
    if file.stat().st_size != expected:
        raise OptionError(f"{file.name} has {file.stat().st_size} bytes instead of {expected}")
    if expected == 0:  # nothing to map
        return np.zeros(shape, _DTYPES[name])
    return np.memmap(file, _DTYPES[name], mode="r", shape=tuple(shape))


def _write(split: EncodedSplit, folder: Path, num_workers: int) -> None:
    """Decode into a folder; its description comes last."""
    folder.mkdir()
    needed = len(split) * split.decoder.channels * int(np.prod(split.decoder.image_size))
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes needed")
    writer = _Writer(folder)
    loader = DataLoader(
        _Blocks(split),
        batch_size=None,
        num_workers=min(num_workers, len(split.counts)),
        worker_init_fn=ignore_requeue_signal,
    )
    num_skipped = 0
    with _progress(len(split)) as advance, writer.files():
        for decoded in loader:
            if isinstance(decoded, ValueError):
                raise decoded
            num_skipped = report_skipped(decoded.skipped, num_skipped)
            writer.append(decoded)
            advance(len(decoded) + len(decoded.skipped))
    if num_skipped:
        log.warning("%d corrupt pictures were left out, %d remain", num_skipped, writer.num_rows)
    writer.describe()
    _flush(folder)


class _Blocks(Dataset[DecodedRows | ValueError]):
    """Decodes a block when asked for it, or hands out what is wrong with it in one line."""

    def __init__(self, split: EncodedSplit) -> None:
        self._split = split
        self._blocks = np.flatnonzero(split.counts)

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> DecodedRows | ValueError:
        try:
            return self._split.decode(self._split.read(int(self._blocks[index])))
        except ValueError as error:
            return ValueError(str(error))


@dataclass
class _Writer:
    """Appends rows to the files of a cache."""

    folder: Path
    num_rows: int = 0
    _files: dict[str, IO[bytes]] = field(default_factory=dict)
    _closing: ExitStack = field(default_factory=ExitStack)
    _shapes: dict[str, list[int]] = field(default_factory=dict)

    @contextmanager
    def files(self) -> Iterator[None]:
        """Files stay open inside; at the end their bytes are on the disk."""
        with self._closing:  # all of them, even if closing one fails on a full disk
            yield
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())

    def append(self, rows: DecodedRows) -> None:
        """Write plainly, not through a mapping: a full disk then raises instead of killing us."""
        arrays = {"images": rows.images, "labels": rows.labels, "embeddings": rows.embeddings}
        for name, array in arrays.items():
            if array is None or (len(array) == 0 and name in self._shapes):
                continue
            if name not in self._files:
                file = (self.folder / f"{name}.bin").open("wb")
                self._files[name] = self._closing.enter_context(file)
            self._files[name].write(np.ascontiguousarray(array, _DTYPES[name]).data)
            if len(array) or name not in self._shapes:
                self._shapes[name] = list(array.shape[1:])
        self.num_rows += len(rows)

    def describe(self) -> None:
        """Say what the files hold."""
        shapes = {name: [self.num_rows, *shape] for name, shape in self._shapes.items()}
        with (self.folder / _DESCRIPTION).open("w") as file:
            json.dump(shapes, file)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Only one process at a time is inside; the lock dies with its holder."""
    with file.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            raise OptionError(
                f"cache_dir={file.parent} is on a file system without locks ({error})"
            ) from error
        yield


@contextmanager
def _progress(num_images: int) -> Iterator[Callable[[int], None]]:
    """How far it is, for work that is long enough to watch; gives a function to advance it.

    A bar on a terminal; lines elsewhere.
    """
    columns = (TextColumn("Decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    quick = num_images < _BAR_FROM
    if not quick:
        say(f"Decoding {num_images:,} images once; later runs find them in the cache")
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(num_images).advance
        return
    with Progress(*columns, console=console, transient=True, disable=quick) as progress:
        task = progress.add_task("Decoding", total=num_images)
        yield lambda number: progress.advance(task, number)


class _Lines:
    """Says now and then how many images are decoded."""

    def __init__(self, num_images: int) -> None:
        self._num_images, self._num_done = num_images, 0
        self._start = self._last = time.monotonic()

    def advance(self, number: int) -> None:
        """So many more are done."""
        self._num_done += number
        now = time.monotonic()
        if now - self._last < _EVERY or self._num_done >= self._num_images:
            return
        self._last = now
        left = (now - self._start) * (self._num_images / self._num_done - 1)
        say(f"decoded {self._num_done:,} of {self._num_images:,} images, {duration(left)} left")


def _flush(folder: Path) -> None:
    """Names of a folder's files onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
