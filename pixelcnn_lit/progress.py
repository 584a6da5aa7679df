"""How far long work is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from pixelcnn_lit.messages import duration, is_first_process, say

EVERY = 30.0
"""Seconds from one line to the next."""


@contextmanager
def progress(doing: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Tell on stderr how far work is, from one process.

    Args:
        doing: what is done: "Decoding".
        total: how many there are to do.
        unit: of what: "images".

    Yields:
        A function to call with how many more are done.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn(unit))
        disable = not is_first_process()
        with Progress(*columns, console=console, transient=True, disable=disable) as bar:
            task = bar.add_task(doing, total=total)
            yield lambda number: bar.advance(task, number)
        return
    pace, done = Pace(EVERY), 0

    def advance(number: int) -> None:
        nonlocal done
        done += number
        if 0 < done < total and pace.is_due():
            say(f"{doing}: {done:,} of {total:,} {unit}, {pace.left(done, total)} left")

    yield advance


class Pace:
    """Whether a line is due, and how long the rest will take.

    Args:
        every: seconds from one line to the next.
        done: how many were done before the clock starts.
    """

    def __init__(self, every: float, done: int = 0) -> None:
        self._every, self._done_before = every, done
        self._start = self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time; if so, the next line is due later."""
        now = time.monotonic()
        if now - self._last < self._every:
            return False
        self._last = now
        return True

    def left(self, done: int, total: float) -> str | None:
        """How long it will take from ``done`` to ``total``; None where nobody can tell."""
        if done == self._done_before or not math.isfinite(total):
            return None
        each = (time.monotonic() - self._start) / (done - self._done_before)
        return duration(each * (total - done))
