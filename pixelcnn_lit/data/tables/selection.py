"""Which rows of a table belong to a split, decided before any picture is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich import get_console
from rich.progress import track

from pixelcnn_lit.data.class_names import class_number
from pixelcnn_lit.data.randomness import uniforms
from pixelcnn_lit.data.tables.rows import AbstractRows
from pixelcnn_lit.messages import OptionError

_MANY_BLOCKS = 200  # from here on counting takes seconds and shows a bar
_REMOTE_READERS = 16  # a network is mostly waited for


class Selected(NamedTuple):
    """Rows of a block: positions within it, and their labels if there are any, both (n,)."""

    positions: NDArray[np.int64]
    labels: NDArray[np.int64] | None


@dataclass(frozen=True)
class RowFilter:
    """The rows of a split.

    Args:
        label_key: column of integer labels, or None.
        labels: wanted labels in their new order (the first becomes 0), None for all as they are.
        max_examples: only the first so many rows of the table, counted before labels matter.
        num_classes: labels kept as they are must lie in 0 … num_classes−1; None for any.
        fractions: keep rows whose fixed random number lies in this interval; how a validation
            split is carved out of a training split, the same in every run.
    """

    label_key: str | None = None
    labels: tuple[int, ...] | None = None
    max_examples: int | None = None
    num_classes: int | None = None
    fractions: tuple[float, float] = (0.0, 1.0)
    _new_label: dict[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        new = {old: new for new, old in enumerate(self.labels or ())}
        object.__setattr__(self, "_new_label", new)

    def columns(self) -> list[str]:
        """The columns that a decision needs."""
        return [] if self.label_key is None else [self.label_key]

    def select(self, rows: AbstractRows, block: int, table: pa.Table | None) -> Selected:
        """The rows of one block that belong to the split.

        Args:
            rows: the table.
            block: which block.
            table: the block with at least ``columns()``; None if there are none.

        Raises:
            OptionError: if a row has no label or one out of range.
        """
        start, size = int(rows.block_starts[block]), int(rows.block_sizes[block])
        if self.max_examples is not None:
            size = min(size, max(0, self.max_examples - start))
        keep = np.ones(size, bool)
        low, high = self.fractions
        if (low, high) != (0.0, 1.0):
            numbers = uniforms("split", 0, 0, start + np.arange(size), 1)[:, 0]
            keep &= (numbers >= low) & (numbers < high)
        if self.label_key is None or table is None:
            return Selected(np.flatnonzero(keep), None)
        column = table[self.label_key]
        if column.null_count:
            raise OptionError(f"label_key={self.label_key}: {rows.where(block, 0)} ff. lack labels")
        labels = column.to_numpy()[:size].astype(np.int64)
        self._check(labels, rows, block)
        if self.labels is not None:
            keep &= np.isin(labels, self.labels)
        positions = np.flatnonzero(keep)
        chosen = labels[positions]
        if self.labels is not None:
            chosen = np.array([self._new_label[int(label)] for label in chosen], np.int64)
        return Selected(positions, chosen)

    def _check(self, labels: NDArray[np.int64], rows: AbstractRows, block: int) -> None:
        if self.labels is not None or self.num_classes is None:
            return
        wrong = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
        if len(wrong):
            raise OptionError(
                f"num_classes={self.num_classes}, but {rows.where(block, int(wrong[0]))} has "
                f"label {labels[wrong[0]]}; allowed are 0 … {self.num_classes - 1}"
            )

    def counts(self, rows: AbstractRows) -> NDArray[np.int64]:
        """How many rows of each block belong to the split; reads labels if they decide it."""
        blocks: Sequence[int] = range(len(rows.block_sizes))
        if self.labels is None:
            unlabelled = RowFilter(max_examples=self.max_examples, fractions=self.fractions)
            return np.array([len(unlabelled.select(rows, b, None)[0]) for b in blocks], np.int64)
        counts = np.zeros(len(blocks), np.int64)
        if self.max_examples is not None:
            blocks = [b for b in blocks if rows.block_starts[b] < self.max_examples]

        def count(block: int) -> int:
            return len(self.select(rows, block, rows.read(block, self.columns())).positions)

        quick = len(blocks) < _MANY_BLOCKS or not get_console().is_terminal
        with ThreadPool(_REMOTE_READERS if rows.is_remote else 1) as pool:
            found = pool.imap(count, blocks)
            bar = track(found, "Reading labels", len(blocks), transient=True, disable=quick)
            counts[list(blocks)] = list(bar)
        return counts


def wanted_labels(classes: Sequence[str | int], feature: object, label_key: str) -> tuple[int, ...]:
    """Class names or numbers as labels.

    Args:
        classes: names as the data spell them, or numbers.
        feature: of the label column; its names, if it has any, decide what is allowed.
        label_key: name of the column, for messages.

    Returns:
        The data's labels, in the order of ``classes``.

    Raises:
        OptionError: for a name that the data do not have (with the nearest ones), a number out of
            range, or a class named twice.
    """
    names = list(feature.names) if isinstance(feature, datasets.ClassLabel) else []
    num_classes, owner = len(names) or None, f"the column {label_key}"
    labels = tuple(class_number("classes", c, names, num_classes, owner) for c in classes)
    if len(set(labels)) < len(labels):
        raise OptionError(f"classes={list(classes)} names a class twice")
    return labels
