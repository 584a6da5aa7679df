"""Examples of a split; decoded ones are arrays, batched by index vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
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
        """The rank's share of all examples in their own order, each once over all ranks.

        Args:
            shard: the rank.
            batch_size: global.
            augment: what is done to each batch.
        """

    @abstractmethod
    def order_depends_on(self, shard: Shard) -> dict[str, int]:
        """What, besides the seed and the global batch size, decides the order of an epoch."""


@dataclass(frozen=True)
class ArrayExamples(AbstractExamples):
    """Examples as arrays.

    Args:
        images: uint8 (N, C, H, W), perhaps memory-mapped.
        labels: int64 (N,) or None.
        embeddings: float32 (N, D) or (N, D, H, W), or None.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    embeddings: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.images)

    def take(self, indices: NDArray[np.int64], augment: Augmentation, epoch: int) -> Batch:
        """The examples of an index vector, as a batch.

        Args:
            indices: 0 … N−1, (B,).
            augment: what is done to the batch.
            epoch: counted from 0; what is random depends on it.
        """
        arrays = (self.images, self.labels, self.embeddings)
        batch = as_batch(*(None if a is None else np.take(a, indices, axis=0) for a in arrays))
        return augment(batch, indices, epoch)

    def training_batches(
        self, shard: Shard, batch_size: int, augment: Augmentation, epoch: int, start: int
    ) -> Iterator[Batch]:
        """Slices of global batches, whose order is the same for any number of ranks."""
        order = epoch_order(len(self), augment.seed, epoch)
        sizes = training_sizes(len(self), batch_size, shard)
        first = shard.share(min(batch_size, len(self))).start
        for step in range(start, len(sizes)):
            begin = step * batch_size + first
            yield self.take(order[begin : begin + sizes[step]], augment, epoch)

    def evaluation_batches(
        self, shard: Shard, batch_size: int, augment: Augmentation
    ) -> Iterator[Batch]:
        """A contiguous share of the examples."""
        begin = shard.share(len(self)).start
        for size in evaluation_sizes(len(self), batch_size, shard):
            yield self.take(np.arange(begin, begin + size), augment, 0)
            begin += size

    def order_depends_on(self, shard: Shard) -> dict[str, int]:
        """Nothing: any number of ranks goes through the same global batches."""
        return {}


def as_batch(images: NDArray | None, labels: NDArray | None, embeddings: NDArray | None) -> Batch:
    """Arrays as a batch, which shares their memory and leaves out what is None."""
    arrays = {"image": images, "label": labels, "embedding": embeddings}
    return {name: torch.from_numpy(a) for name, a in arrays.items() if a is not None}
