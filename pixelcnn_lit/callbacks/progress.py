"""Progress of a run: a bar on a terminal; lines in log files, under nohup and SLURM."""

from __future__ import annotations

import math

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.types import STEP_OUTPUT

from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import check_at_least
from pixelcnn_lit.progress import EVERY, Pace

Figures = dict[str, int | str | float | dict[str, float]]


class ProgressBar(RichProgressBar):
    """Lightning's bar, with the figures of the training as of the last step that was logged.

    Reading figures waits for the device; Lightning's own bar does so after every step.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins without figures."""
        super().setup(trainer, pl_module, stage)
        self._figures: Figures = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Figures:
        """The figures beside the bar; a validation's at once."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not trainer.training or trainer.global_step % every == 0:
            self._figures = super().get_metrics(trainer, pl_module)
        return self._figures


class ProgressLines(Callback):
    """Prints a line on stdout now and then, from rank 0.

    Args:
        every_n_seconds: at most so often, and only between batches.
    """

    def __init__(self, every_n_seconds: float = EVERY) -> None:
        check_at_least("callbacks.progress_lines.every_n_seconds", every_n_seconds, 0)
        self.every_n_seconds = every_n_seconds

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts the clock."""
        self._pace = Pace(self.every_n_seconds)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts it anew, from the step that a resumed run has come to."""
        self._pace = Pace(self.every_n_seconds, done=trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Epoch, step, metrics, the speed that was logged last, and the time left."""
        if not self._is_due(trainer):
            return
        step, total = trainer.global_step, trainer.estimated_stepping_batches
        parts = [f"epoch {trainer.current_epoch}", _of("step", step, total)]
        parts += [f"{k} {float(v):.4f}" for k, v in trainer.progress_bar_metrics.items()]
        if (speed := trainer.callback_metrics.get("images_per_second")) is not None:
            parts.append(f"{float(speed):,.0f} images/s")
        if left := self._pace.left(step, total):
            parts.append(f"{left} left")
        print(", ".join(parts), flush=True)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Which batch of the validation or of the test it is."""
        if self._is_due(trainer):
            where = "test" if trainer.testing else f"epoch {trainer.current_epoch}, validation"
            [total] = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
            print(f"{where}, {_of('batch', batch_idx + 1, total)}", flush=True)

    on_test_batch_end = on_validation_batch_end

    def _is_due(self, trainer: Trainer) -> bool:
        return trainer.is_global_zero and self._pace.is_due()


def _of(name: str, number: int, total: float) -> str:
    return f"{name} {number}" + (f" of {total:.0f}" if math.isfinite(total) else "")
