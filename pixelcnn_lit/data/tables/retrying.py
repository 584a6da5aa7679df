"""Patience with networks: try again, wait longer each time, give up with one clear line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds


def is_remote(file: str) -> bool:
    """Whether a path is a URL that a network serves."""
    return "://" in file and not file.startswith("file://")


class UnreachableError(ValueError):
    """What cannot be read from the network, with all patience."""


@dataclass(frozen=True)
class Retries:
    """Calls again what failed on the way.

    Every exception counts as such a failure: a dropped connection, a 503 or a short answer arrive
    here as errors of the socket, of three HTTP libraries, as a missing file or as invalid parquet.

    Args:
        num_retries: further attempts after the first; the wait before them doubles each time, from
            half a second up to half a minute.
    """

    num_retries: int = 5

    def __call__(self, attempt: Callable[[], Result], url: str) -> Result:
        """The result of ``attempt``, which must be safe to repeat.

        Args:
            attempt: reads something.
            url: what it reads, for messages.

        Raises:
            UnreachableError: if it fails every time.
        """
        wait = _FIRST_WAIT
        trial = 1
        while True:
            try:
                return attempt()
            except Exception as error:
                cause = error.__cause__ or error  # fsspec calls a 503 a missing file
                reason = f"{type(cause).__name__}: {cause}"
                if trial > self.num_retries:
                    raise UnreachableError(
                        f"reading {url} failed {trial} times, last with {reason}; see num_retries"
                    ) from error
                log.warning("Reading %s failed (%s): again in %.1f s", url, reason, wait)
            time.sleep(wait)
            trial, wait = trial + 1, min(2 * wait, _LONGEST_WAIT)
