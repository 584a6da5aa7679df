"""Guard against NaN: stops a run before a checkpoint is spoilt."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import check_at_least


class _Seen(NamedTuple):
    step: int
    epoch: int
    batch_idx: int
    batch: Batch
    loss: Tensor  # scalar


class NaNGuard(Callback):
    """Raises when a loss was NaN or infinite, on all processes alike, whichever had it.

    The losses are looked at together every few steps, since looking waits for the device and for
    the other processes; but always before a checkpoint is written, so that none is from after a
    bad loss, nor holds weights that are not finite. On one CPU, where nothing is waited for, every
    loss is looked at. The bad batch is kept in the run folder as ``bad_batch-rank*.pt``.

    With ``precision=16-mixed`` an infinite gradient is no error: the scaler skips that step.

    Args:
        every_n_steps: how often to look; so many batches, of uint8 images, are held on to.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        check_at_least("callbacks.nan_guard.every_n_steps", every_n_steps, 1)
        self.every_n_steps = every_n_steps
        self._seen: list[_Seen] = []
        self._step = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remembers the number of the step, which the optimizer is about to increase."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Notes the loss as the model gave it, without 16-mixed's scale, and looks if it is time.

        Raises:
            FloatingPointError: naming the step, the batch and the checkpoint to go back to.
        """
        loss = cast(dict[str, Tensor], outputs)["loss"].detach()
        self._seen.append(_Seen(self._step, trainer.current_epoch, batch_idx, batch, loss))
        at_no_cost = trainer.world_size == 1 and loss.device.type == "cpu"
        if at_no_cost or len(self._seen) >= self.every_n_steps:
            self._look(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]
    ) -> None:
        """Looks at what has not been looked at, and at the weights.

        Raises:
            FloatingPointError: so that no checkpoint is written.
        """
        self._look(trainer)
        norm = torch.nn.utils.get_total_norm([p.detach() for p in pl_module.parameters()])
        if not torch.isfinite(norm):  # the same on all processes
            raise FloatingPointError(
                f"the weights are not finite after step {trainer.global_step}, though the losses"
                f" were: a gradient was not; {_advice(trainer)}"
            )

    def _look(self, trainer: Trainer) -> None:
        seen, self._seen = self._seen, []
        if not seen:
            return
        bad = ~torch.stack([one.loss for one in seen]).isfinite()
        # the first bad one of all processes, as one number: place * processes + rank
        places = torch.arange(len(seen), device=bad.device) * trainer.world_size
        none = len(seen) * trainer.world_size
        first = torch.where(bad, places + trainer.global_rank, none).min()
        if trainer.world_size > 1:
            first = trainer.strategy.reduce(first, reduce_op="min")
        if int(first) == none:
            return
        place, rank = divmod(int(first), trainer.world_size)
        step, epoch, batch_idx, batch, loss = seen[place]
        kept = Path(trainer.default_root_dir) / f"bad_batch-rank{rank}.pt"
        if trainer.global_rank == rank:
            torch.save({name: value.cpu() for name, value in batch.items()}, kept)
        value = f"{loss.item()}" if trainer.global_rank == rank else "not finite"
        raise FloatingPointError(
            f"the loss is {value} at step {step} (epoch {epoch}, batch {batch_idx}, kept in"
            f" {kept}); {_advice(trainer)}"
        )


def _advice(trainer: Trainer) -> str:
    last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
    return (
        f"last good checkpoint: {last if last.exists() else 'none yet'}; a lower"
        " model.optimizer.lr or trainer.gradient_clip_val=1 may help, debug=anomaly shows where it"
        " arises"
    )
