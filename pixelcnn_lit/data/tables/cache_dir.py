"""Cache folder: where it lies, and what to say if it cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixelcnn_lit.messages import OptionError

_REASONS = {
    errno.ENOSPC: "has no room left",
    errno.EDQUOT: "has no room left",
    errno.EACCES: "may not be written",
    errno.EROFS: "may not be written",
    errno.EEXIST: "is no folder",
    errno.ENOTDIR: "is no folder",
    errno.ENOLCK: "is on a file system without locks",
    errno.EOPNOTSUPP: "is on a file system without locks",
}


def default_cache_dir() -> Path:
    """Where caches go unless told otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "pixelcnn_lit"


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
        if error.errno not in _REASONS:
            raise
        raise OptionError(
            f"cache_dir={folder} {_REASONS[error.errno]} ({error}); make room for it, set "
            "data.cache_dir=DIR, or say data.in_memory=false"
        ) from error
