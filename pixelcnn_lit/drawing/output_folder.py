"""Output folder of a command, tried out before the work."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pixelcnn_lit.messages import OptionError


def make_new_folder(folder: Path) -> None:
    """Make a folder for files, one that holds nothing yet.

    Raises:
        OptionError: naming the option ``output``, if it holds something or cannot be written.
    """
    with writing_to(folder):
        if folder.is_dir() and any(folder.iterdir()):
            raise OptionError(f"output={folder}: holds something already; name a new folder")
    make_folder(folder)


def make_folder(folder: Path, output: Path | None = None) -> None:
    """Make sure that files can be made in a folder.

    Args:
        folder: of what is written.
        output: what the option of that name says, if it is not the folder.

    Raises:
        OptionError: naming the option ``output``, if they cannot.
    """
    with writing_to(output or folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass


@contextmanager
def writing_to(output: Path) -> Iterator[None]:
    """What cannot be written inside is told in one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OptionError(f"output={output}: cannot be written ({reason})") from error
