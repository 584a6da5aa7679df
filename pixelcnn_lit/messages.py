"""What a command tells its user: errors in one line, lines, and tables of results."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.table import Table


class OptionError(ValueError):
    """The user asked for something impossible: which option, what value, what is allowed.

    Commands show it as one line and end with status 2. Every other exception is a fault of ours
    or of the machine and keeps its traceback.
    """


def check_at_least(option: str, value: float | None, least: int) -> None:
    """Refuse a number that is too small; None passes.

    Raises:
        OptionError: naming the option and the least that it takes.
    """
    if value is not None and value < least:
        raise OptionError(f"{option}={value}: must be {least} or more")


def is_first_process() -> bool:
    """Whether this process speaks for the run: those of one run are numbered by their launcher."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def say(line: str) -> None:
    """One line for the user, from one process, on stderr."""
    if is_first_process():
        print(line, file=sys.stderr, flush=True)


def print_table(table: Table) -> None:
    """A table of results on stdout, wide enough for whole paths where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def one_line(error: BaseException) -> str:
    r"""What ``error`` says, without line breaks.

    >>> one_line(ValueError("two\nlines")), one_line(TimeoutError())
    ('two lines', 'TimeoutError')
    """
    return " ".join(str(error).split()) or type(error).__name__


def duration(seconds: float) -> str:
    """Seconds as a person would say them.

    >>> duration(42.4), duration(192), duration(7380)
    ('42 s', '3 min 12 s', '2 h 3 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
