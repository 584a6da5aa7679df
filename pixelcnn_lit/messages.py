"""What a command tells its user, one line at a time."""

from __future__ import annotations

import sys

from lightning.fabric.utilities.rank_zero import rank_zero_only


@rank_zero_only
def say(line: str) -> None:
    """One line for the user, from one process, on stderr."""
    print(line, file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    r"""What ``error`` says, without line breaks.

    >>> one_line(ValueError("two\nlines")), one_line(TimeoutError())
    ('two lines', 'TimeoutError')
    """
    return " ".join(str(error).split()) or type(error).__name__
