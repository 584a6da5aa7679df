"""What a command tells its user, one line at a time."""

from __future__ import annotations

import os
import sys


class OptionError(ValueError):
    """The user asked for something impossible: which option, what value, what is allowed.

    Commands show it as one line and end with status 2. Every other exception is a fault of ours
    or of the machine and keeps its traceback.
    """


def is_first_process() -> bool:
    """Whether this process speaks for the run: those of one run are numbered by their launcher."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def say(line: str) -> None:
    """One line for the user, from one process, on stderr."""
    if is_first_process():
        print(line, file=sys.stderr, flush=True)


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
