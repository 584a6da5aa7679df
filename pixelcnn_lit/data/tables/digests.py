"""What takes long to find out about files, remembered instead of found out at every start."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

from pixelcnn_lit.data.tables.cache_dir import writing_in


def remembered(memory: Path, identity: str, find_out: Callable[[], str]) -> str:
    """A text that is found out once for all processes and runs.

    Args:
        memory: folder of what is remembered; created if missing.
        identity: of all that the text depends on.
        find_out: gives the text; called only if it is not known from before.

    Raises:
        ValueError: if ``memory`` cannot be written.
    """
    note = memory / hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    if note.is_file() and (known := note.read_text()).endswith("\n"):  # else it was cut short
        return known.removesuffix("\n")
    text = find_out()
    with writing_in(memory.parent):
        memory.mkdir(parents=True, exist_ok=True)
        unfinished = note.with_suffix(f".{platform.node()}.{os.getpid()}")
        unfinished.write_text(f"{text}\n")
        unfinished.replace(note)
    return text


def file_digest(file: Path, memory: Path) -> str:
    """Digest of a file's bytes.

    Args:
        file: is read only if its path, size and time of change are not known from before.
        memory: folder of remembered digests; created if missing.

    Returns:
        128 bits in hexadecimal.
    """

    def read() -> str:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    status = file.stat()
    identity = f"{file.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
    return remembered(memory, identity, read)
