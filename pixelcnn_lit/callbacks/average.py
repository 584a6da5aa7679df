"""Exponential moving average of the weights, which is what is measured and kept."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pixelcnn_lit.messages import OptionError


class AveragedWeights(WeightAveraging):
    """The average weighs step n by ``min(decay, (1 + n) / (10 + n))``.

    A fixed decay of 0.9995 would hold on to the initial weights for thousands of steps, so that
    the first validations said nothing; the warm-up keeps the average over the last tenth or so of
    a young run. Validation, samples and checkpoints use the averaged weights; training goes on
    with the current ones.

    Source: Salimans et al. (2017) average with 0.9995; the warm-up is that of TensorFlow's
    ExponentialMovingAverage (``num_updates``).
    """

    def __init__(self, decay: float = 0.9995) -> None:
        if not 0 <= decay < 1:
            raise OptionError(f"callbacks.average.decay={decay}: must lie in [0, 1)")
        super().__init__(use_buffers=False, multi_avg_fn=self._average)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Puts the average where the weights will be, and its count where Python reads it.

        Lightning copies the model before it moves and converts it (precision=64-true): left there,
        every step would send all the weights of a GPU to the CPU. The count on the GPU would be
        waited for at every step.
        """
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            trainer.precision_plugin.convert_module(self._average_model)
            self._average_model.n_averaged = torch.tensor(0)

    def _average(
        self, averaged: list[Tensor], current: list[Tensor], _num_averaged: Tensor
    ) -> None:
        # counted here in Python: reading the count off the device would wait for it at every step
        num_updates = self._latest_update_step
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        get_ema_multi_avg_fn(decay)(averaged, current, 0)
