"""Cache folder: its notes, and what to say if it cannot be written."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pixelcnn_lit.files import written_whole
from pixelcnn_lit.messages import OptionError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_CACHE_DIR = (errno.EACCES, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENOLCK)


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Errors of writing in a cache folder as one line that says what to do.

    Args:
        folder: the folder of all caches.

    Raises:
        OptionError: for a full disk, a folder that may not be written, and a path that is none.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_NO_ROOM, *_NO_CACHE_DIR):
            raise
        reason = "has no room left" if error.errno in _NO_ROOM else "cannot be written"
        raise OptionError(
            f"cache_dir={folder} {reason} ({error}); make room for it, set data.cache_dir=DIR, or "
            "say data.in_memory=false"
        ) from error


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
        return note.read_text()
    text = compute()
    with writing_in(notes.parent), written_whole(note) as unfinished:
        unfinished.write_text(text)
    return text
