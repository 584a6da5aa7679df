"""How far a run is, in lines, where no terminal shows a bar: log files, nohup, SLURM."""

from __future__ import annotations

import math
import sys
import time

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from pixelcnn_lit.messages import OptionError, duration


class ProgressLines(Callback):
    """Prints a line on stdout now and then, from rank 0, unless stdout is a terminal.

    Args:
        every_n_seconds: at most so often, and only between batches.
    """

    def __init__(self, every_n_seconds: float = 30.0) -> None:
        if every_n_seconds < 0:
            raise OptionError(
                f"callbacks.progress_lines.every_n_seconds={every_n_seconds}: must be 0 or more"
            )
        self.every_n_seconds = every_n_seconds
        self._silent = True
        self._last = 0.0  # when the last line was printed
        self._num_images, self._since = 0, 0.0  # for the speed: what was trained, since when
        self._first_step, self._start = 0, 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Decides who speaks."""
        self._silent = not trainer.is_global_zero or sys.stdout.isatty()
        self._last = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._first_step, self._start = trainer.global_step, time.monotonic()
        self._restart()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: dict[str, Tensor],
        batch_idx: int,
    ) -> None:
        """Epoch, step, metrics, speed and the time left."""
        self._num_images += len(batch["image"])
        if not self._is_due():
            return
        epoch, step = trainer.current_epoch, trainer.global_step
        seconds = time.monotonic() - self._since
        metrics = [f"{k} {float(v):.4f}" for k, v in trainer.progress_bar_metrics.items()]
        speed = self._num_images * trainer.world_size / max(seconds, 1e-9)
        parts = [f"epoch {epoch}", f"step {step}", *metrics, f"{speed:,.0f} images/s"]
        total = trainer.estimated_stepping_batches
        if math.isfinite(total) and step > self._first_step:
            parts[1] += f" of {total:.0f}"
            pace = (time.monotonic() - self._start) / (step - self._first_step)
            parts.append(f"{duration(pace * (total - step))} left")
        self._say(", ".join(parts))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: dict[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Which batch of the validation it is."""
        if self._is_due():
            [total] = trainer.num_val_batches
            self._say(
                f"epoch {trainer.current_epoch}, validation, {_of('batch', batch_idx, total)}"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts the images of the training only."""
        self._restart()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: dict[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Which batch of the test it is."""
        if self._is_due():
            [total] = trainer.num_test_batches
            self._say(f"test, {_of('batch', batch_idx, total)}")

    def _is_due(self) -> bool:
        return not self._silent and time.monotonic() - self._last >= self.every_n_seconds

    def _say(self, line: str) -> None:
        print(line, flush=True)
        self._last = time.monotonic()
        self._restart()

    def _restart(self) -> None:
        self._num_images, self._since = 0, time.monotonic()


def _of(name: str, index: int, total: int | float) -> str:
    return f"{name} {index + 1}" + (f" of {total:.0f}" if math.isfinite(total) else "")
