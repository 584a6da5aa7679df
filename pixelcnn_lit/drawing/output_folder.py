"""Output of a command, tried out before the work."""

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
        _try_out(folder)


def picture_file(output: str, suffixes: list[str]) -> Path:
    """The file of the option ``output``, whose folder is made.

    Raises:
        OptionError: if it has another ending, or cannot be written.
    """
    file = Path(output)
    if file.suffix not in suffixes:
        raise OptionError(f"output={output}: a file that ends in {' or '.join(suffixes)}")
    with writing_to(file):
        _try_out(file.parent)
    return file


def _try_out(folder: Path) -> None:
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
