"""Optimizer and learning-rate schedule of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


def optimization(
    parameters: Iterable[nn.Parameter],
    make_optimizer: OptimizerFactory | None,
    make_scheduler: SchedulerFactory | None,
) -> OptimizerLRScheduler:
    """The optimizer, Adam at 1e-3 if none is given, and the scheduler at every step.

    Raises:
        ValueError: naming which of them cannot be built, and why.
    """
    try:
        optimizer = make_optimizer(parameters) if make_optimizer else Adam(parameters, lr=1e-3)
    except (ValueError, TypeError) as error:
        raise ValueError(f"model.optimizer: {error}") from error
    if make_scheduler is None:
        return optimizer
    try:
        scheduler = make_scheduler(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(f"model.scheduler: {error}") from error
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
