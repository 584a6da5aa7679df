"""Locks random numbers to the step."""

from __future__ import annotations

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import check_at_least


class StepSeeds(Callback):
    """Seeds torch before every training batch from (seed, number of the batch, rank).

    So dropout at step n is the same whether the run was interrupted before it or not, whatever was
    drawn in between (pictures, validation), and differs between processes. Nothing needs saving.
    """

    def __init__(self, seed: int = 0) -> None:
        check_at_least("seed", seed, 0)
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Seeds every device's default generator."""
        number = trainer.fit_loop.epoch_loop.total_batch_idx
        words = np.random.SeedSequence([self.seed, number, trainer.global_rank]).generate_state(2)
        torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
