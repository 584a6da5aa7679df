"""Notes on disk: digests of files and counts of rows, computed once for all runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pixelcnn_lit.data.tables.cache_dir import writing_in
from pixelcnn_lit.files import written_whole


def memoized(notes: Path, identity: str, compute: Callable[[], str]) -> str:
    """A text that is computed once for all processes and runs.

    Args:
        notes: folder of such texts; created if missing.
        identity: of all that the text depends on.
        compute: gives the text; called only if it is not known from before.

    Raises:
        OptionError: if ``notes`` cannot be written.
    """
    note = notes / hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    if note.is_file():
        return note.read_text().strip()
    text = compute()
    with writing_in(notes.parent), written_whole(note) as unfinished:
        unfinished.write_text(text)
    return text


def file_digest(file: Path, notes: Path) -> str:
    """Digest of a file's bytes.

    Args:
        file: is read only if its path, size and time of change are not known from before.
        notes: folder of remembered digests; created if missing.

    Returns:
        128 bits in hexadecimal.
    """

    def compute() -> str:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    status = file.stat()
    identity = f"{file.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
    return memoized(notes, identity, compute)
