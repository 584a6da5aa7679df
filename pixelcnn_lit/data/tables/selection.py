"""Row filter: which rows of a table belong to a split, decided before any picture is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixelcnn_lit.data.class_names import class_number
from pixelcnn_lit.data.randomness import uniforms
from pixelcnn_lit.data.tables.table import AbstractTable
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.progress import progress

_REMOTE_READERS = 16  # a network is mostly waited for


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

    def select(
        self, table: AbstractTable, group: int, rows: pa.Table | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """The rows of one group that belong to the split.

        Args:
            table: the whole table.
            group: which row group.
            rows: the group with at least its labels; None if labels play no role.

        Returns:
            Positions within the group, and their new labels if there are any, both (n,).

        Raises:
            OptionError: if a row has no label or one out of range.
        """
        start, size = int(table.group_starts[group]), int(table.group_sizes[group])
        if self.max_examples is not None:
            size = min(size, max(0, self.max_examples - start))
        keep = np.ones(size, bool)
        low, high = self.fractions
        if (low, high) != (0.0, 1.0):
            numbers = uniforms("split", 0, 0, start + np.arange(size), 1)[:, 0]
            keep &= (numbers >= low) & (numbers < high)
        if self.label_key is None or rows is None:
            return np.flatnonzero(keep), None
        column = rows[self.label_key]
        if column.null_count:
            raise OptionError(f"label_key={self.label_key}: {table.where(start)} ff. lack labels")
        labels = column.to_numpy()[:size].astype(np.int64)
        if self.labels is None:
            self._check(labels, table, start)
            return np.flatnonzero(keep), labels[keep]
        keep &= np.isin(labels, self.labels)
        new_label = {old: new for new, old in enumerate(self.labels)}
        chosen = [new_label[int(label)] for label in labels[keep]]
        return np.flatnonzero(keep), np.array(chosen, np.int64)

    def _check(self, labels: NDArray[np.int64], table: AbstractTable, start: int) -> None:
        if self.num_classes is None:
            return
        wrong = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
        if len(wrong):
            raise OptionError(
                f"num_classes={self.num_classes}, but {table.where(start + int(wrong[0]))} has "
                f"label {labels[wrong[0]]}; allowed are 0 … {self.num_classes - 1}"
            )

    def counts(self, table: AbstractTable) -> NDArray[np.int64]:
        """How many rows of each group belong to the split, (num_groups,).

        Labels are read only if they decide it, and only of the groups that ``max_examples`` leaves.
        """

        def count(group: int) -> int:
            key = self.label_key
            rows = None if self.labels is None or key is None else table.read(group, [key])
            return len(self.select(table, group, rows)[0])

        groups: Sequence[int] = range(len(table.group_sizes))
        if self.labels is None:
            return np.array([count(group) for group in groups], np.int64)
        counts = np.zeros(len(groups), np.int64)
        if self.max_examples is not None:
            groups = np.flatnonzero(table.group_starts < self.max_examples).tolist()
        with (
            progress("Reading labels", len(groups), "row groups") as advance,
            ThreadPool(_REMOTE_READERS if table.is_remote else 1) as pool,
        ):
            for group, number in zip(groups, pool.imap(count, groups), strict=True):
                counts[group] = number
                advance(1)
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
