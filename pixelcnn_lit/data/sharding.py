"""Sharding over processes: ranks, steps and batch sizes, as plain arithmetic.

Training: every rank takes the same number of steps. The remainder that does not fill a global
batch is left out of the epoch (another one every epoch, since each has its own order); a set
smaller than one global batch gives one batch. Evaluation: every example exactly once, and every
rank has the same number of batches, because a rank that runs out early would leave the others
waiting.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixelcnn_lit.messages import OptionError

if TYPE_CHECKING:
    from lightning import Trainer


@dataclass(frozen=True)
class Shard:
    """One process among ``num_ranks``."""

    rank: int = 0
    num_ranks: int = 1

    @staticmethod
    def current(trainer: Trainer | None = None) -> Shard:
        """This process: as the trainer says, else RANK and WORLD_SIZE."""
        if trainer is not None:
            return Shard(trainer.global_rank, trainer.world_size)
        return Shard(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def batch_size(self, global_batch_size: int) -> int:
        """This rank's share of a global batch.

        Raises:
            OptionError: if the processes cannot share it equally.
        """
        if global_batch_size % self.num_ranks:
            raise OptionError(
                f"batch_size={global_batch_size} is for all processes together: it must be a "
                f"multiple of their number, {self.num_ranks}"
            )
        return global_batch_size // self.num_ranks

    def share(self, num_examples: int) -> range:
        """This rank's contiguous share of examples; shares differ by one at most."""
        small, larger = divmod(num_examples, self.num_ranks)
        start = self.rank * small + min(self.rank, larger)
        return range(start, start + small + (self.rank < larger))


def training_sizes(num_examples: int, batch_size: int, shard: Shard) -> list[int]:
    """How many examples each of this rank's training batches holds.

    Args:
        num_examples: of the training set.
        batch_size: global.
        shard: the rank.

    Raises:
        OptionError: if there are fewer examples than processes.
    """
    if num_examples >= batch_size:
        return [shard.batch_size(batch_size)] * (num_examples // batch_size)
    if num_examples < shard.num_ranks:
        raise OptionError(
            f"the training split holds {num_examples} examples, fewer than the "
            f"{shard.num_ranks} processes that train on it"
        )
    return [len(shard.share(num_examples))]


def evaluation_sizes(num_examples: int, batch_size: int, shard: Shard) -> list[int]:
    """How many examples each of this rank's evaluation batches holds.

    All but the last are full. Where one rank's share would end one batch earlier than another's,
    its last batch borrows an example from the one before it (with one example per rank and batch,
    the first batch takes two instead).

    Args:
        num_examples: of the split.
        batch_size: global.
        shard: the rank.

    Raises:
        OptionError: if there are fewer examples than processes.
    """
    if num_examples < shard.num_ranks:
        raise OptionError(
            f"a split holds {num_examples} examples, fewer than the {shard.num_ranks} processes "
            "that evaluate it"
        )
    local = shard.batch_size(batch_size)
    num_own, num_largest = len(shard.share(num_examples)), -(-num_examples // shard.num_ranks)
    num_steps = min(-(-num_largest // local), num_examples // shard.num_ranks)
    sizes = [local] * (num_steps - 1)
    last = num_own - sum(sizes)
    if last > local:  # one example per batch: more examples than steps
        return [local + last - 1, *sizes[1:], 1] if sizes else [last]
    if last == 0:
        return [*sizes[:-1], local - 1, 1]
    return [*sizes, last]
