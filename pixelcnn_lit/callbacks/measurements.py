"""Throughput, GPU memory and gradient norm of training."""

from __future__ import annotations

import time

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch.optim import Optimizer

from pixelcnn_lit.images import Batch


class Throughput(Callback):
    """Logs ``images_per_second`` over all processes, and on a GPU its peak ``gpu_memory_gib``.

    Measured from one of Lightning's log steps to the next, so that the device is waited for only
    then; the time of validation and pictures is left out.
    """

    def __init__(self) -> None:
        self.images_per_second = 0.0
        self._restart()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._restart()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._seconds += time.perf_counter() - self._start

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock again; what the pictures took of the memory is not the training's."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        self._start = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Counts the images, and logs at Lightning's log steps."""
        self._num_images += len(batch["image"])
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        on_gpu = pl_module.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize(pl_module.device)
        seconds = self._seconds + time.perf_counter() - self._start
        self.images_per_second = self._num_images * trainer.world_size / seconds
        measured = {"images_per_second": self.images_per_second}
        if on_gpu:
            measured["gpu_memory_gib"] = torch.cuda.max_memory_allocated(pl_module.device) / 2**30
        pl_module.log_dict(measured, on_step=True, on_epoch=False, logger=True, batch_size=1)
        self._restart()

    def _restart(self) -> None:
        self._num_images, self._seconds, self._start = 0, 0.0, time.perf_counter()


class GradientNorm(Callback):
    """Logs ``gradient_norm``, the Euclidean norm over all parameters before clipping."""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Measures at Lightning's log steps."""
        if (trainer.global_step + 1) % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        pl_module.log("gradient_norm", norm, on_step=True, on_epoch=False, batch_size=1)
