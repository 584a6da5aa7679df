"""The folder for what is drawn: tried out before the work, freed of what an earlier one left."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INDIVIDUAL = "images"
"""The folder within it for one picture per image."""

_NAMES = ("samples.npy", "samples.png", "samples.gif", "samples.webp")
_NUMBERED = re.compile(r"\d{5,}\.png")


def make_folder(folder: Path, output: Path | None = None) -> None:
    """Make sure that files can be made in a folder.

    Args:
        folder: of what is drawn.
        output: what the option of that name says, if it is not the folder.

    Raises:
        ValueError: naming the option ``output``, if they cannot.
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
        raise ValueError(f"output={output}: cannot be written ({reason})") from error


def remove_earlier(output: Path) -> None:
    """Remove what an earlier command drew; files of other names stay."""
    numbered = (output / INDIVIDUAL).glob("*.png")
    individual = [file for file in numbered if _NUMBERED.fullmatch(file.name)]
    for file in [*(output / name for name in _NAMES), *individual]:
        file.unlink(missing_ok=True)
