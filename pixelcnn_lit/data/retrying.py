"""Patience with networks: try again, wait longer each time, say so, give up with one clear line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import httpx
import pyarrow as pa

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# What a dropped connection, a 503 or a short answer look like after fsspec and pyarrow.
_TRANSIENT = (
    OSError,
    TimeoutError,
    aiohttp.ClientError,
    httpx.HTTPError,
    pa.ArrowException,
    EOFError,
)
_LONGEST_WAIT = 30.0  # seconds


def is_remote(file: str) -> bool:
    """Whether a path is a URL that a network serves."""
    return "://" in file and not file.startswith("file://")


@dataclass(frozen=True)
class Retries:
    """Calls again what failed on the way.

    Args:
        num_retries: further attempts after the first.
        first_wait: seconds before the second attempt; doubled each time, at most half a minute.
    """

    num_retries: int = 5
    first_wait: float = 0.5

    def __call__(self, attempt: Callable[[], Result], what: str) -> Result:
        """The result of ``attempt``.

        Args:
            attempt: must be safe to repeat.
            what: is being read, for messages.

        Raises:
            ConnectionError: if a remote read fails every time.
            Exception: what a local read raises, at once.
        """
        wait = self.first_wait
        for trial in range(self.num_retries + 1):
            try:
                return attempt()
            except _TRANSIENT as error:
                if not is_remote(what):
                    raise
                if trial == self.num_retries:
                    raise ConnectionError(
                        f"reading {what} failed {trial + 1} times, the last time with {error!r}"
                    ) from error
                log.warning("Reading %s failed (%r): again in %.1f s", what, error, wait)
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
        raise AssertionError("unreachable")
