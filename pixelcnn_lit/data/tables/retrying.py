"""Retries with exponential back-off, for whatever is read over a network."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pixelcnn_lit.messages import OptionError, one_line

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds


class UnreachableError(OptionError):
    """What cannot be read from the network, with all patience."""


def with_retries(attempt: Callable[[], Result], url: str, num_retries: int) -> Result:
    """The result of ``attempt``, which must be safe to repeat.

    Every exception but a refusal counts as a failure on the way: a dropped connection, a 503 or a
    short answer arrive here as errors of the socket, of three HTTP libraries, as a missing file or
    as invalid parquet.

    Args:
        attempt: reads something.
        url: what it reads, for messages.
        num_retries: further attempts after the first; the wait before them doubles each time, from
            half a second up to half a minute.

    Raises:
        OptionError: from ``attempt``, at once.
        UnreachableError: if it fails every time.
    """
    wait, number = _FIRST_WAIT, 1
    while True:
        try:
            return attempt()
        except OptionError:
            raise
        except Exception as error:
            cause = error.__cause__ or error  # fsspec calls a 503 a missing file
            reason = f"{type(cause).__name__}: {one_line(cause)}"
            if number > num_retries:
                raise UnreachableError(
                    f"reading {url} failed {number} times, last with {reason}; see num_retries"
                ) from error
            log.warning("Reading %s failed (%s): again in %.1f s", url, reason, wait)
        time.sleep(wait)
        wait, number = min(2 * wait, _LONGEST_WAIT), number + 1
