"""CSV logger: ``metrics.csv`` in the run folder holds every number of a run."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from pixelcnn_lit.files import written_whole


class MetricsFile(Logger):
    """All metrics as a table, one row per step and stage, written as they come.

    Numbers of one step arrive in several calls; they share a row. A new column rewrites the file
    once. A resumed run first drops the rows after its checkpoint, so that no step occurs twice.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._columns: list[str] = []
        self._row: dict[str, str] = {}
        self._in_file: dict[str, str] = {}  # what of the row the last line holds
        if path.exists():
            with path.open(newline="") as file:
                self._columns = next(csv.reader(file), [])

    @property
    def name(self) -> str:
        """What Lightning calls the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """Empty: none are kept."""
        return ""

    def log_hyperparams(self, params: dict[str, object] | Namespace) -> None:
        """Does nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds ``metrics`` to the row of ``step``."""
        written = {name: f"{float(value):.10g}" for name, value in metrics.items()}
        row = {"step": str(step)} | written
        if any(self._row.get(name, value) != value for name, value in row.items()):
            self.save()
            self._row, self._in_file = {}, {}
        self._row = self._row | row

    @rank_zero_only
    def save(self) -> None:
        """Writes the row begun, if any; numbers of its step may still follow."""
        if self._row == self._in_file:
            return
        missing = [name for name in self._row if name not in self._columns]
        if missing or self._in_file:
            table = read_table(self.path)[: -1 if self._in_file else None]
            self._columns += missing
            self._write([*table, self._row])
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(self._row)
        self._in_file = self._row

    def finalize(self, status: str) -> None:
        """Writes what is left."""
        self.save()

    def keep_until(self, step: int) -> None:
        """Drops the rows after ``step`` optimizer steps, which a resumed run will write again."""
        if not self.path.exists():
            return
        table = [
            row
            for row in read_table(self.path)
            if int(row["step"]) < step
            and not any(value for name, value in row.items() if name.startswith("test/"))
        ]
        # the validation after the last step may be repeated: its numbers belong to that row
        if table and int(table[-1]["step"]) == step - 1:
            self._row = {name: value for name, value in table[-1].items() if value}
            self._in_file = self._row
        self._write(table)

    def _write(self, table: list[dict[str, str]]) -> None:
        with written_whole(self.path) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(table)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv``, but for a last one that a kill cut short; none without it."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if row["step"].isdigit() and None not in row and None not in row.values()
        ]


def read_metric(path: Path, name: str) -> dict[int, float]:
    """One metric of a ``metrics.csv`` by step; empty if it was never logged."""
    return {int(row["step"]): float(row[name]) for row in read_table(path) if row.get(name)}
