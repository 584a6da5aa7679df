"""Examples of a split; decoded ones are arrays, batched by index vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pixelcnn_lit.data.augmentation import Augmentation
from pixelcnn_lit.data.randomness import epoch_order
from pixelcnn_lit.data.sharding import Shard, evaluation_sizes, training_sizes
from pixelcnn_lit.images import Batch


class AbstractExamples(ABC):
    """The examples of one split, ready to be handed out in batches."""

    @abstractmethod
    def __len__(self) -> int:
        """How many examples there are."""

    @abstractmethod
    def training_batches(
        self, shard: Shard, batch_size: int, augment: Augmentation, epoch: int, start: int
    ) -> Iterator[Batch]:
        """The rank's batches ``start``, ``start`` + 1, … of a shuffled epoch.

        Args:
            shard: the rank.
            batch_size: global.
            augment: what is done to each batch; its seed also decides the order.
            epoch: counted from 0.
            start: batches of the epoch that were handed out before.
        """

    @abstractmethod
    def evaluation_batches(
        self, shard: Shard, batch_size: int, augment: Augmentation
    ) -> Iterator[Batch]:
        """The rank's share of all examples in their own order, each once over all ranks."""

    @abstractmethod
    def order_depends_on(self, shard: Shard) -> dict[str, int]:
        """What, besides the seed and the global batch size, decides the order of an epoch."""


@dataclass(frozen=True)
class ArrayExamples(AbstractExamples):
    """Examples as arrays.

    Args:
        arrays: by what they are called in a batch: ``image`` uint8 (N, C, H, W), perhaps
            memory-mapped, and where there are any ``label`` int64 (N,) and ``embedding`` float32
            (N, D) or (N, D, H, W).
    """

    arrays: Mapping[str, NDArray]

    def __len__(self) -> int:
        return len(self.arrays["image"])

    def training_batches(
        self, shard: Shard, batch_size: int, augment: Augmentation, epoch: int, start: int
    ) -> Iterator[Batch]:
        """Slices of global batches, whose order is the same for any number of ranks."""
        order = epoch_order(len(self), augment.seed, epoch)
        sizes = training_sizes(len(self), batch_size, shard)
        first = shard.share(min(batch_size, len(self))).start
        for step in range(start, len(sizes)):
            begin = step * batch_size + first
            yield self._take(order[begin : begin + sizes[step]], augment, epoch)

    def evaluation_batches(
        self, shard: Shard, batch_size: int, augment: Augmentation
    ) -> Iterator[Batch]:
        """A contiguous share of the examples."""
        begin = shard.share(len(self)).start
        for size in evaluation_sizes(len(self), batch_size, shard):
            yield self._take(np.arange(begin, begin + size), augment, 0)
            begin += size

    def order_depends_on(self, shard: Shard) -> dict[str, int]:
        """Nothing: any number of ranks goes through the same global batches."""
        return {}

    def _take(self, indices: NDArray[np.int64], augment: Augmentation, epoch: int) -> Batch:
        taken = {name: np.take(array, indices, axis=0) for name, array in self.arrays.items()}
        batch = {name: torch.from_numpy(array) for name, array in taken.items()}
        return augment(batch, indices, epoch)
