"""Checkpoints: ``best.ckpt`` by validation bits/dim, ``last.ckpt`` to go on from."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.types import STEP_OUTPUT

from pixelcnn_lit.callbacks.interruption import Interrupted, Interruption
from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import OptionError, check_at_least


class Checkpoints(Checkpoint):
    """Keeps two files and saves only where a resumed run continues exactly.

    ``last.ckpt`` is written before every validation, after every epoch, at ``max_steps`` and
    ``max_time``, every ``every_n_minutes``, every ``every_n_steps``, and after the step in which
    Ctrl-C, SIGTERM or SIGUSR1 arrived, which then stops training with ``Interrupted``. Never in
    mid-step, between accumulated batches or on an error, where the state is half updated.

    A signal during a validation, or while its pictures are drawn, stops at once: a resumed run
    repeats the validation. Several processes that were not started by SLURM, which signals all of
    them, agree on it only after the validation. A run that ``max_steps`` or ``max_time`` ends
    within an epoch is validated, if the epoch has a validation.

    Written instead of configuring Lightning's ModelCheckpoint because that one saves in mid-step
    on Ctrl-C, ties its state to the absolute folder, and names files -v1 when a run is resumed.

    Args:
        folder: where the files lie.
        monitor: the metric, smaller is better, that decides which is best.
        every_n_minutes: None for never.
        every_n_steps: None for never.
    """

    def __init__(
        self,
        folder: str,
        monitor: str = "val/bits_per_dim",
        every_n_minutes: float | None = 10.0,
        every_n_steps: int | None = None,
    ) -> None:
        if every_n_minutes is not None and every_n_minutes <= 0:
            raise OptionError(
                f"callbacks.checkpoints.every_n_minutes={every_n_minutes}: must be above 0 or null"
            )
        check_at_least("callbacks.checkpoints.every_n_steps", every_n_steps, 1)
        self.folder = Path(folder)
        self.best_path = self.folder / "best.ckpt"
        self.last_path = self.folder / "last.ckpt"
        self.monitor = monitor
        self.every_n_minutes = every_n_minutes
        self.every_n_steps = every_n_steps
        self.best = float("inf")
        self._interruption = Interruption()
        self._stopping = 0
        self._last_time = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets what was best elsewhere, if a run goes on from another one."""
        if not trainer.strategy.broadcast(self.best_path.exists()):
            self.best = float("inf")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to listen for signals."""
        self._interruption.listen()
        self._last_time = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends listening for signals.

        Raises:
            Interrupted: if a signal came with the last step; the test is left for another time.
        """
        signum = self._stopping or self._interruption.pending(trainer)
        self._interruption.stop_listening()
        if signum:
            raise Interrupted(signum, trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Saves within an epoch; after its last batch ``on_train_epoch_end`` does."""
        if trainer.is_last_batch:
            return
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            trainer.should_stop = False  # max_time asks again after the next batch
            return
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # so that Lightning validates once more
        signum = self._interruption.pending(trainer)
        if signum or trainer.should_stop or self._is_due(trainer):
            self._save_last(trainer)
        self._stopping = signum

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Stops where a signal was acted upon: by now the metrics of its step are logged, too."""
        if self._stopping:
            raise Interrupted(self._stopping, trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves a state from which the validation is repeated; from here on a signal acts at once.

        Raises:
            Interrupted: if a signal has come already.
        """
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        progress.total.reset_on_restart()
        if not self._is_repeatable(trainer):
            return
        # Lightning repeats a validation whose first batch was begun and not finished
        progress.increment_ready()
        progress.increment_started()
        self._save_last(trainer)
        progress.total.reset_on_restart()
        progress.current.reset_on_restart()
        if signum := self._interruption.pending(trainer):
            raise Interrupted(signum, trainer.global_step)
        if trainer.world_size == 1 or "SLURM_JOB_ID" in os.environ:
            self._interruption.act_at_once(trainer.global_step)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets signals wait again: from here on files are written."""
        self._interruption.act_later()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the best."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[self.monitor])
        if value < self.best:
            self.best = value
            # Lightning counts a step after its validation, for the numbers in the logs; a resumed
            # run that does not come by here again has to find it counted
            loop = trainer.fit_loop.epoch_loop
            counted = loop._batches_that_stepped
            if not self._is_repeatable(trainer) and not loop._should_accumulate():
                loop._batches_that_stepped += 1
            trainer.save_checkpoint(self.best_path)
            loop._batches_that_stepped = counted

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves after an epoch, unless it was cut short: its other batches would be lost."""
        if trainer.is_last_batch:
            self._save_last(trainer)
            self._stopping = self._interruption.pending(trainer)

    def state_dict(self) -> dict[str, float]:
        """What is best so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Takes up what was best."""
        self.best = state_dict["best"]

    def _is_repeatable(self, trainer: Trainer) -> bool:
        """Whether a resumed run will come to the validation that begins now again."""
        loop = trainer.fit_loop
        cut_short = trainer.should_stop and not trainer.is_last_batch
        by_time = isinstance(trainer.val_check_interval, str) and not trainer.is_last_batch
        return not (cut_short or by_time or loop._should_accumulate())

    def _is_due(self, trainer: Trainer) -> bool:
        if self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0:
            return True
        if self.every_n_minutes is None:
            return False
        overdue = time.monotonic() - self._last_time > 60 * self.every_n_minutes
        return trainer.strategy.broadcast(overdue)  # clocks differ: rank 0 decides

    def _save_last(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # a run that is killed has the numbers up to here
        trainer.save_checkpoint(self.last_path)
        self._last_time = time.monotonic()
