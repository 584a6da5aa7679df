"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Write a file beside its place and move it there at the end.

    A kill or a full disk leaves what was there before; nobody sees half a file. The folder is made
    if need be, and is where the file is written: from elsewhere a move may be a copy.

    Args:
        target: the file.

    Yields:
        Where to write.

    Raises:
        OSError: if it cannot be written; ``target`` is then as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # several processes on several machines may write the same file
    unfinished = target.with_name(f".{target.name}.{platform.node()}.{os.getpid()}")
    try:
        yield unfinished
        flush(unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """The bytes of a file, or the names of a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
