"""What a run trains: its optimizer, its stages, and what it says about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar, cast

from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pixelcnn_lit.images import FACTS, Batch

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class AbstractTrained(LightningModule, ABC):
    """A LightningModule that measures whole splits, and whose checkpoint says which class it is.

    Args:
        optimizer: makes the optimizer from the parameters; Adam at 1e-3 if None.
        scheduler: makes the learning-rate scheduler from the optimizer, stepped at every step.

    Attributes:
        class_names: what the labels 0, 1, … stand for, from the data trained on; kept in the
            checkpoint.
        validation_metrics: what a validation logs.
    """

    validation_metrics: ClassVar[tuple[str, ...]]
    class_names: list[str] | None = None

    def __init__(
        self, optimizer: OptimizerFactory | None, scheduler: SchedulerFactory | None
    ) -> None:
        super().__init__()
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler

    @property
    def facts(self) -> dict[str, object]:
        """What it takes of images, by the names in :data:`~pixelcnn_lit.images.FACTS`."""
        return {name: self.hparams[name] for name in FACTS if name in self.hparams}

    @abstractmethod
    def _measure(self, stage: str, batch: Batch) -> None:
        """Count the batch into the metrics of "val" or "test"."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch into ``validation_metrics``."""
        self._measure("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch into the same of the test, ``test/bits_per_dim`` and so on."""
        self._measure("test", batch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and the scheduler at every step.

        Raises:
            ValueError: naming which of them cannot be built, and why.
        """
        make_optimizer = self.make_optimizer or (
            lambda parameters: Adam(parameters, lr=1e-3, fused=True)
        )
        try:
            optimizer = make_optimizer(self.parameters())
        except (ValueError, TypeError) as error:
            raise ValueError(f"model.optimizer: {error}") from error
        if self.make_scheduler is None:
            return optimizer
        try:
            schedule = self.make_scheduler(optimizer)
        except (ValueError, TypeError) as error:
            raise ValueError(f"model.scheduler: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Say which class reads the file again, and what its labels are called."""
        checkpoint["model_class"] = type(self).__name__
        checkpoint["class_names"] = self.class_names

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take up what the labels are called."""
        self.class_names = cast("list[str] | None", checkpoint.get("class_names"))
