"""The folder for what is drawn: tried out before the work, freed of what an earlier one left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pixelcnn_lit.messages import OptionError

INDIVIDUAL = "images"
"""The folder within it for one picture per image."""

_DRAWN = ".drawn"
"""The file that names what a command drew into the folder, a line each."""


def make_folder(folder: Path, output: Path | None = None) -> None:
    """Make sure that files can be made in a folder.

    Args:
        folder: of what is drawn.
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


def check_no_others(output: Path, names: Iterable[str]) -> None:
    """Refuse to write over files that no earlier command drew.

    Args:
        output: the folder.
        names: of the files that are to be written, within the folder.

    Raises:
        OptionError: naming the option ``output`` and the first such file.
    """
    drawn = set(_earlier(output))
    for name in names:
        if name not in drawn and (output / name).exists():
            raise OptionError(
                f"output={output}: {name} is there and not in {_DRAWN}, which lists what was"
                " drawn; remove it or name another folder"
            )


def replace_earlier(output: Path, names: Iterable[str]) -> None:
    """Remove what an earlier command drew, no other file, and note what this one is to draw."""
    for name in _earlier(output):
        (output / name).unlink(missing_ok=True)
    (output / _DRAWN).write_text("".join(f"{name}\n" for name in names))


def _earlier(output: Path) -> list[str]:
    """What earlier commands drew, by name within the folder."""
    file = output / _DRAWN
    return file.read_text().splitlines() if file.exists() else []
