"""Where conf/ and sweeps/ are: inside of an installed package, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path


def _place(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


CONF_DIR = _place("conf")
SWEEPS_DIR = _place("sweeps")
