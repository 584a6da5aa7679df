"""Digests of file contents, remembered, so that a large file is not read at every start."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def file_digest(file: Path, memory: Path) -> str:
    """Digest of a file's bytes.

    Args:
        file: is read only if its path, size and time of change are not known from before.
        memory: folder of remembered digests; created if missing.

    Returns:
        128 bits in hexadecimal.
    """
    status = file.stat()
    identity = f"{file.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
    note = memory / hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    if note.is_file() and len(known := note.read_text()) == 32:
        return known
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    memory.mkdir(parents=True, exist_ok=True)
    unfinished = note.with_suffix(f".{os.getpid()}")
    unfinished.write_text(digest)
    unfinished.replace(note)
    return digest
