"""Data loaders for the Trainer, which begin at the right place after a resume."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pixelcnn_lit.images import Batch

if TYPE_CHECKING:
    from lightning import Trainer

log = logging.getLogger(__name__)


class TrainingLoader:
    """The training batches of one rank, epoch after epoch.

    Lightning restores its own count of finished batches before it asks for the next one, and that
    count, not ours, decides which optimizer steps have happened. So under a Trainer the place to
    begin is read from its loop, at the first ``next`` and not at ``iter``, which Lightning calls
    before the restored count is final. Without a Trainer the loader keeps count itself.

    Args:
        batches: the batches of an epoch from a start on, ``batches(epoch, start)``.
        num_steps: batches per epoch.
        identity: what the order depends on; a resume with another identity is warned about.
        trainer: gives the Trainer, if there is one.
    """

    def __init__(
        self,
        batches: Callable[[int, int], Iterator[Batch]],
        num_steps: int,
        identity: dict[str, int],
        trainer: Callable[[], Trainer | None],
    ) -> None:
        self._batches = batches
        self._num_steps = num_steps
        self._identity = identity
        self._trainer = trainer
        self._epoch = 0
        self._batch = 0
        self._known = False  # whether these are more than a beginning

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._num_steps

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch."""
        self._epoch, self._batch = self._position()
        self._known = True
        for batch in self._batches(self._epoch, self._batch):
            self._batch += 1
            yield _pinned(batch)
        if self._driver() is None:
            self._epoch, self._batch = self._epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loader is, and what its order depends on."""
        return {"epoch": self._epoch, "batch": self._batch, **self._identity}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue there; warn if the order has changed since."""
        self._epoch, self._batch, self._known = state["epoch"], state["batch"], True
        for name, value in self._identity.items():
            if (before := state.get(name)) != value:
                log.warning(
                    f"Resuming with {name}={value} instead of {before}: the rest of this epoch has "
                    "another order, so some of its examples repeat and some are left out"
                )

    def _driver(self) -> Trainer | None:
        """The Trainer whose training loop reads this loader."""
        trainer = self._trainer()
        return trainer if trainer is not None and trainer.train_dataloader is self else None

    def _position(self) -> tuple[int, int]:
        """Epoch and batch to begin with."""
        trainer = self._driver()
        if trainer is None:
            return self._epoch, self._batch
        loop = trainer.fit_loop
        start = loop.epoch_loop.batch_progress.current.ready
        if trainer.overfit_batches > 0:  # pyright: ignore[reportAttributeAccessIssue]
            return 0, start  # the same batches in every epoch
        epoch: int = loop.epoch_progress.current.processed  # pyright: ignore[reportAttributeAccessIssue]
        if self._known:
            epoch = self._epoch if start > 0 else min(epoch, self._epoch + 1)
        return epoch, start


@dataclass(frozen=True)
class EvaluationLoader:
    """The validation or test batches of one rank.

    Args:
        batches: gives them.
        num_steps: how many there are.
    """

    batches: Callable[[], Iterator[Batch]]
    num_steps: int

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[Batch]:
        return map(_pinned, self.batches())


def _pinned(batch: Batch) -> Batch:
    """In page-locked memory where there is a GPU, so that the copy to it overlaps with work."""
    if not torch.cuda.is_available():
        return batch
    return {key: value.pin_memory() for key, value in batch.items()}
