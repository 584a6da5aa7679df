"""Streamed examples: decoded as they are needed, in memory that does not depend on their number.

An epoch is laid out by arithmetic before anything is read. The selected rows of all row groups,
in the shuffled order of the groups, form a ring of N rows, which each epoch enters elsewhere; from
the entrance it is cut into equal stretches, one per rank, and each of these into a lane per
worker. So every group is read once, or twice where a cut goes through it:

    entrance of the epoch
    ▼
    ├─ rank 0 ──────────────────────┤─ rank 1 ──────────────────────┤ left out ┤ back to ▼
    │ lane 0        │ lane 1        │ lane 0        │ lane 1        │          │
    │ window│ window│ window│ window│ window│ window│ window│ window│          │
    ┊ group 5 ┊ group 0    ┊ group 3     ┊ group 7  ┊ group 1  ┊ …

What does not fill a global batch lies before the entrance, so it is another part of the ring in
every epoch, even if all rows are one group. A worker shuffles its lane window by window,
``shuffle_buffer`` rows at a time. All of this follows from (seed, epoch, number of ranks, number of
workers): to resume, a worker computes in which window its next row lies and starts reading there.
Nothing of a buffer needs to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pixelcnn_lit.data.augmentation import Augmentation
from pixelcnn_lit.data.examples import AbstractExamples
from pixelcnn_lit.data.randomness import epoch_order
from pixelcnn_lit.data.sharding import Shard, evaluation_sizes, training_sizes
from pixelcnn_lit.data.tables.encoded import EncodedSplit, report_skipped
from pixelcnn_lit.data.workers import from_workers
from pixelcnn_lit.images import Batch

_READ_AHEAD = 1024  # rows that are decoded in order are read so many at a time
# Part of the ring between the entrances of successive epochs. Multiples of the golden ratio spread
# most evenly over a circle: no row is left out in three epochs running while groups stay in order.
_TURN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class StreamedExamples(AbstractExamples):
    """Examples that are read and decoded on the way.

    Args:
        split: the rows.
        num_workers: processes that read and decode; 0 does it in this one.
        shuffle_buffer: rows that are shuffled among each other.
    """

    split: EncodedSplit
    num_workers: int
    shuffle_buffer: int

    def __len__(self) -> int:
        return len(self.split)

    def training_batches(
        self, shard: Shard, batch_size: int, augment: Augmentation, epoch: int, start: int
    ) -> Iterator[Batch]:
        """The rank's stretch of a ring of shuffled row groups."""
        sizes = training_sizes(len(self), batch_size, shard)
        whole = len(self) >= batch_size
        begin = shard.rank * sum(sizes) if whole else shard.share(len(self)).start
        begin += int(epoch * _TURN % 1 * len(self))
        # Twice round, so that a stretch may run over the end of the line.
        groups = np.tile(epoch_order(len(self.split.counts), augment.seed, epoch), 2)
        window = self.shuffle_buffer
        stretch = _Stretch(self.split, groups, begin, sizes, start, window, augment, epoch)
        return stretch.batches(self.num_workers)

    def evaluation_batches(
        self, shard: Shard, batch_size: int, augment: Augmentation
    ) -> Iterator[Batch]:
        """The rank's stretch of the rows in their own order."""
        sizes = evaluation_sizes(len(self), batch_size, shard)
        groups, begin = np.arange(len(self.split.counts)), shard.share(len(self)).start
        stretch = _Stretch(self.split, groups, begin, sizes, 0, _READ_AHEAD, augment, None)
        return stretch.batches(self.num_workers)

    def order_depends_on(self, shard: Shard) -> dict[str, int]:
        """The numbers of ranks and workers, which cut the line, and the window."""
        return {
            "num_ranks": shard.num_ranks,
            "num_workers": self.num_workers,
            "shuffle_buffer": self.shuffle_buffer,
        }


@dataclass(frozen=True)
class _Stretch:
    """A rank's part of an epoch's line of rows."""

    split: EncodedSplit
    groups: NDArray[np.int64]  # row groups in the line's order; a group may occur twice
    begin: int  # place in the line of the rank's first row
    sizes: list[int]  # rows of each of the rank's batches
    start: int  # batches that are done already
    window: int  # rows that are read, and shuffled among each other, at a time
    augment: Augmentation
    epoch: int | None  # of training, counted from 0; None to keep the rows in order

    def batches(self, num_workers: int) -> Iterator[Batch]:
        """The batches from ``start`` on."""
        num_skipped = 0
        for batch, skipped in from_workers(self._of_worker, num_workers):
            num_skipped = report_skipped(skipped, num_skipped)
            yield batch

    def _of_worker(self, worker: int, num_lanes: int) -> Iterator[tuple[Batch, list[str]]]:
        """The batches of a worker, with a line for each corrupt picture.

        Lane l holds the batches l, l + num_lanes, …. Workers are asked in turn, the first one
        first, so after a resume at batch ``start`` the first takes the lane whose turn it is.

        Corrupt pictures shorten their batch but never the number of batches, which all ranks
        share. Where none is left, evaluation gets an empty batch, and training, which could make
        nothing of that, the next readable example.
        """
        for rows in self._lane((self.start + worker) % num_lanes, num_lanes):
            decoded = self.split.decode(rows)
            skipped = decoded.skipped
            if len(skipped) == len(rows) and self.epoch is not None:
                decoded = self.split.next_readable(rows["number"][0].as_py())
            batch = {name: torch.from_numpy(array) for name, array in decoded.arrays.items()}
            yield self.augment(batch, decoded.numbers, self.epoch or 0), skipped

    def _lane(self, lane: int, num_lanes: int) -> Iterator[pa.Table]:
        """The rows of the remaining batches of one lane."""
        begin = self.begin + sum(sum(self.sizes[k::num_lanes]) for k in range(lane))
        done = self.sizes[lane : self.start : num_lanes]
        own = self.sizes[lane::num_lanes]
        windows = self._windows(begin, begin + sum(own), sum(done), lane)
        rows: list[pa.Table] = []
        for size in own[len(done) :]:
            while sum(map(len, rows)) < size:
                rows.append(next(windows))
            joined = pa.concat_tables(rows)
            yield joined.slice(0, size)
            rows = [joined.slice(size)]

    def _windows(self, begin: int, end: int, done: int, lane: int) -> Iterator[pa.Table]:
        """Rows ``begin`` … ``end``−1 of the line but for the first ``done``, window by window."""
        sizes = self.split.counts[self.groups]
        ends = np.cumsum(sizes)
        starts = ends - sizes
        read = lru_cache(maxsize=1)(self.split.read)  # the next window often begins in the latest
        for first in range(begin + done // self.window * self.window, end, self.window):
            last = min(first + self.window, end)
            places = np.flatnonzero((first < ends) & (starts < last) & (sizes > 0))
            tables = [read(int(group)) for group in self.groups[places]]
            rows = pa.concat_tables(tables).slice(first - starts[places[0]], last - first)
            if self.epoch is not None:
                key = [self.augment.seed, self.epoch, lane, (first - begin) // self.window]
                order = np.random.default_rng(key).permutation(len(rows))
                rows = rows.combine_chunks().take(pa.array(order))
            yield rows.slice(max(0, begin + done - first))
