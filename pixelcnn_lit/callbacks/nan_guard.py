"""Stops a run whose loss is no longer a number, before the weights are."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor


class NaNGuard(Callback):
    """Raises before the backward pass of a loss that is NaN or infinite.

    The batch is kept in the run folder as ``bad_batch.pt``, and the checkpoints on disk are all
    from before.
    """

    def __init__(self) -> None:
        self._batch: dict[str, Tensor] = {}
        self._batch_idx = 0

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: dict[str, Tensor],
        batch_idx: int,
    ) -> None:
        """Remembers the batch."""
        self._batch, self._batch_idx = batch, batch_idx

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Looks at the loss.

        Raises:
            FloatingPointError: naming the step, the batch and the checkpoint to go back to.
        """
        if torch.isfinite(loss):
            return
        folder = Path(trainer.default_root_dir)
        kept = folder / f"bad_batch-rank{trainer.global_rank}.pt"
        torch.save({name: value.cpu() for name, value in self._batch.items()}, kept)
        last = folder / "checkpoints" / "last.ckpt"
        raise FloatingPointError(
            f"the loss is {loss.item()} at step {trainer.global_step} (epoch"
            f" {trainer.current_epoch}, batch {self._batch_idx}, kept in {kept}); last good"
            f" checkpoint: {last if last.exists() else 'none yet'}; a lower model.optimizer.lr or"
            " trainer.gradient_clip_val=1 may help, debug=anomaly shows where it arises"
        )
