"""Patience with networks: try again, wait longer each time, give up with one clear line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_LONGEST_WAIT = 30.0  # seconds


def is_remote(file: str) -> bool:
    """Whether a path is a URL that a network serves."""
    return "://" in file and not file.startswith("file://")


@dataclass(frozen=True)
class Retries:
    """Calls again what failed on the way.

    Every exception counts as such a failure: a dropped connection, a 503 or a short answer arrive
    here as errors of the socket, of three HTTP libraries, as a missing file or as invalid parquet.

    Args:
        num_retries: further attempts after the first.
        first_wait: seconds before the second attempt; doubled each time, at most half a minute.
    """

    num_retries: int = 5
    first_wait: float = 0.5

    def __call__(self, attempt: Callable[[], Result], url: str) -> Result:
        """The result of ``attempt``, which must be safe to repeat.

        Args:
            attempt: reads something.
            url: what it reads, for messages.

        Raises:
            ConnectionError: if it fails every time.
        """
        wait = self.first_wait
        trial = 1
        while True:
            try:
                return attempt()
            except Exception as error:
                if trial > self.num_retries:
                    raise ConnectionError(
                        f"reading {url} failed {trial} times, the last time with {error!r}; raise "
                        "num_retries, or set data.path=DIR to a local copy"
                    ) from error
                log.warning("Reading %s failed (%r): again in %.1f s", url, error, wait)
            time.sleep(wait)
            trial, wait = trial + 1, min(2 * wait, _LONGEST_WAIT)
