"""Worker processes that read and decode."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TypeVar

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pixelcnn_lit.messages import OptionError

Item = TypeVar("Item")


def from_workers(produce: Callable[[int, int], Iterator[Item]], num_workers: int) -> Iterator[Item]:
    """What worker processes produce, one item from each in turn.

    Args:
        produce: the items of a worker, ``produce(worker, number of workers)``.
        num_workers: 0 produces in this process.

    Raises:
        OptionError: whatever a worker refuses.
    """
    for item in DataLoader(
        _Produced(produce), None, num_workers=num_workers, worker_init_fn=_ignore_requeue_signal
    ):
        if isinstance(item, OptionError):
            raise item
        yield item


class _Produced(IterableDataset):
    """The items of this process.

    A refusal is handed out like an item: raised here, it would reach the user wrapped in the
    traceback of a worker instead of as one line.
    """

    def __init__(self, produce: Callable[[int, int], Iterator]) -> None:
        self._produce = produce

    def __iter__(self) -> Iterator:
        info = get_worker_info()
        try:
            yield from self._produce(*((0, 1) if info is None else (info.id, info.num_workers)))
        except OptionError as error:
            yield OptionError(str(error))


def _ignore_requeue_signal(worker: int) -> None:
    """Workers inherit the handler that requeues a cluster's job: only one process may act."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
