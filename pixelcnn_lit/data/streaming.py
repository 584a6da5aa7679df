"""Examples decoded as they are needed, in memory that does not depend on how many there are.

An epoch is laid out by arithmetic before anything is read. Blocks are shuffled; the selected rows
of all blocks in that order form one long line, closed to a ring that each epoch enters elsewhere;
from there it is cut into equal stretches, one per rank, and each of these into one lane per
worker, so every block is read once (or twice, where a cut goes through it). What does not fill a
global batch lies before the entrance, so it is another part of the ring every epoch, even if all
rows are one block. A worker shuffles its lane window by window, ``shuffle_buffer`` rows at a time.
All of this follows from (seed, epoch, number of ranks, number of workers): to resume, a worker
computes in which window its next row lies and starts reading there. Nothing of a buffer needs to
be saved.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pixelcnn_lit.data.augmentation import Presentation
from pixelcnn_lit.data.examples import AbstractExamples
from pixelcnn_lit.data.randomness import epoch_order
from pixelcnn_lit.data.sharding import Shard, evaluation_sizes, training_sizes
from pixelcnn_lit.data.tables.encoded import DecodedRows, EncodedRows, EncodedSplit, report_skipped
from pixelcnn_lit.images import Batch

_READ_AHEAD = 1024  # rows that are decoded in order are read so many at a time
# Part of the ring between the entrances of successive epochs. Multiples of the golden ratio spread
# most evenly over a circle: no row is left out in three epochs running while blocks stay in order.
_TURN = (5**0.5 - 1) / 2


class StreamedExamples(AbstractExamples):
    """Examples that are read and decoded on the way.

    Args:
        split: the rows.
        num_workers: processes that read and decode; 0 does it in this one.
        shuffle_buffer: rows that are shuffled among each other.
    """

    def __init__(self, split: EncodedSplit, num_workers: int, shuffle_buffer: int) -> None:
        self._split = split
        self._num_workers = num_workers
        self._shuffle_buffer = shuffle_buffer

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self._split)

    def training_batches(
        self, shard: Shard, batch_size: int, present: Presentation, epoch: int, start: int
    ) -> Iterator[Batch]:
        """The rank's stretch of a ring of shuffled blocks."""
        sizes = training_sizes(len(self), batch_size, shard)
        whole = len(self) >= batch_size
        begin = shard.rank * sum(sizes) if whole else shard.share(len(self)).start
        begin += int(epoch * _TURN % 1 * len(self))
        # Twice round, so that a stretch may run over the end of the line.
        blocks = np.tile(epoch_order(len(self._split.counts), present.seed, epoch), 2)
        stretch = Stretch(blocks, begin, sizes, start, self._shuffle_buffer, (present.seed, epoch))
        return self._batches(stretch, present, epoch)

    def evaluation_batches(
        self, shard: Shard, batch_size: int, present: Presentation
    ) -> Iterator[Batch]:
        """The rank's stretch of the rows in their own order."""
        sizes = evaluation_sizes(len(self), batch_size, shard)
        blocks = np.arange(len(self._split.counts))
        stretch = Stretch(blocks, shard.share(len(self)).start, sizes, 0, _READ_AHEAD, None)
        return self._batches(stretch, present, 0)

    def order_depends_on(self, shard: Shard) -> dict[str, int]:
        """The numbers of ranks and workers, which cut the line, and the window."""
        return {
            "num_ranks": shard.num_ranks,
            "num_workers": self._num_workers,
            "shuffle_buffer": self._shuffle_buffer,
        }

    def _batches(self, stretch: Stretch, present: Presentation, epoch: int) -> Iterator[Batch]:
        loader = DataLoader(
            _Lanes(self._split, stretch, present, epoch),
            batch_size=None,
            num_workers=self._num_workers,
            worker_init_fn=ignore_requeue_signal,
        )
        num_skipped = 0
        for item in loader:
            if isinstance(item, ValueError):
                raise item
            batch, skipped = item
            num_skipped = report_skipped(skipped, num_skipped)
            yield batch


@dataclass(frozen=True)
class Stretch:
    """A rank's part of an epoch's line.

    Attributes:
        blocks: the line's blocks in their order; a block may occur twice.
        begin: place in the line of the rank's first row.
        sizes: rows of each of the rank's batches.
        start: batches that are done already.
        window: rows that are read, and shuffled among each other, at a time.
        key: (seed, epoch) of the shuffle, or None to keep the rows in order.
    """

    blocks: NDArray[np.int64]
    begin: int
    sizes: list[int]
    start: int
    window: int
    key: tuple[int, int] | None


class _Lanes(IterableDataset[tuple[Batch, tuple[str, ...]] | ValueError]):
    """A rank's stretch, dealt out to its workers: lane l holds the batches l, l + num_lanes, ….

    The loader asks its workers in turn, the first one first, so after a resume at batch ``start``
    the first worker takes the lane whose turn it is.
    """

    def __init__(
        self, split: EncodedSplit, stretch: Stretch, present: Presentation, epoch: int
    ) -> None:
        self._split = split
        self._stretch = stretch
        self._present = present
        self._epoch = epoch
        self._ends = np.cumsum(split.counts[stretch.blocks])
        self._latest: tuple[int, EncodedRows] | None = None

    def __iter__(self) -> Iterator[tuple[Batch, tuple[str, ...]] | ValueError]:
        """The batches of this worker, with a line for each corrupt picture.

        Corrupt pictures shorten their batch but never the number of batches, which all ranks
        share. Where none is left, evaluation gets an empty batch, and training, which could make
        nothing of that, the next readable example.

        What is wrong with the data is handed out too: raised here, it would reach the user wrapped
        in the traceback of a worker instead of as one line.
        """
        info = get_worker_info()
        num_lanes = 1 if info is None else info.num_workers
        turn = 0 if info is None else info.id
        try:
            for rows in self._lane((self._stretch.start + turn) % num_lanes, num_lanes):
                decoded = self._split.decode(rows)
                skipped = decoded.skipped
                if len(decoded) == 0 and self._stretch.key is not None:
                    decoded = self._split.next_readable(int(rows.blocks[0]))
                yield self._present(_batch(decoded), decoded.numbers, self._epoch), skipped
        except ValueError as error:
            yield ValueError(str(error))

    def _lane(self, lane: int, num_lanes: int) -> Iterator[EncodedRows]:
        """The remaining batches of one lane."""
        sizes, start = self._stretch.sizes, self._stretch.start
        begin = self._stretch.begin + sum(sum(sizes[k::num_lanes]) for k in range(lane))
        own, done = sizes[lane::num_lanes], sum(sizes[lane:start:num_lanes])
        windows = self._windows(begin, begin + sum(own), done, lane)
        rows: list[EncodedRows] = []
        for size in own[len(sizes[lane:start:num_lanes]) :]:
            while sum(map(len, rows)) < size:
                rows.append(next(windows))
            joined = EncodedRows.concatenate(rows)
            yield joined.slice(0, size)
            rows = [joined.slice(size, len(joined))]

    def _windows(self, begin: int, end: int, done: int, lane: int) -> Iterator[EncodedRows]:
        """Rows ``begin`` … ``end``−1 of the line but for the first ``done``, window by window."""
        window = self._stretch.window
        for number in range(done // window, -(-(end - begin) // window)):
            first = begin + number * window
            rows = EncodedRows.concatenate(list(self._read(first, min(first + window, end))))
            if self._stretch.key is not None:
                generator = np.random.default_rng([*self._stretch.key, lane, number])
                rows = rows.take(generator.permutation(len(rows)))
            yield rows.slice(max(0, done - number * window), len(rows))

    def _read(self, begin: int, end: int) -> Iterator[EncodedRows]:
        """Rows ``begin`` … ``end``−1 of the line, block by block."""
        place = int(np.searchsorted(self._ends, begin, side="right"))
        while begin < end:
            block_end = int(self._ends[place])
            block_begin = block_end - int(self._split.counts[self._stretch.blocks[place]])
            stop = min(end, block_end)
            if stop > begin:
                block = self._block(int(self._stretch.blocks[place]))
                yield block.slice(begin - block_begin, stop - block_begin)
            begin, place = stop, place + 1

    def _block(self, block: int) -> EncodedRows:
        """A block; the latest is kept, since the next window often begins inside it."""
        if self._latest is None or self._latest[0] != block:
            self._latest = (block, self._split.read(block))
        return self._latest[1]


def ignore_requeue_signal(worker: int) -> None:
    """Workers inherit the handler that requeues a cluster's job: only one process may act."""
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _batch(decoded: DecodedRows) -> Batch:
    batch = {"image": torch.from_numpy(decoded.images)}
    if decoded.labels is not None:
        batch["label"] = torch.from_numpy(decoded.labels)
    if decoded.embeddings is not None:
        batch["embedding"] = torch.from_numpy(decoded.embeddings)
    return batch
