"""How every model is trained and measured: every step from a batch of levels to bits/dim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from pixelcnn_lit.images import Batch
from pixelcnn_lit.likelihoods import AbstractLikelihood
from pixelcnn_lit.metrics import BitsPerDim, NatsPerDim, bits_per_dim, nats_per_dim
from pixelcnn_lit.models.generative import AbstractGenerativeModel
from pixelcnn_lit.models.parts import OptimizerFactory, SchedulerFactory, optimization
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.networks.conditions import AbstractCondition, LabelCondition
from pixelcnn_lit.networks.weight_norm import initialise


class AbstractLitModel(AbstractGenerativeModel):
    """The one LightningModule of all variants.

    A final class builds the parts in ``__init__`` from numbers, strings, lists and None, which
    are saved in the checkpoint, so that ``load_from_checkpoint(path)`` needs nothing else.

    Attributes:
        metrics: bits and nats per dimension over whole splits, by stage and name.
        validation_metrics: what a validation logs.
    """

    validation_metrics: ClassVar[tuple[str, ...]] = ("val/bits_per_dim", "val/nats_per_dim")

    def __init__(
        self,
        network: AbstractNetwork,
        likelihood: AbstractLikelihood,
        condition: AbstractCondition,
        *,
        image_size: Iterable[int],
        data_init: bool,
        optimizer: OptimizerFactory | None,
        scheduler: SchedulerFactory | None,
    ) -> None:
        super().__init__(network, likelihood, condition, image_size)
        self.data_init = data_init
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.metrics = nn.ModuleDict(
            {
                stage: nn.ModuleDict({"bits_per_dim": BitsPerDim(), "nats_per_dim": NatsPerDim()})
                for stage in ("val", "test")
            }
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, bits/dim of the batch: its gradient does not grow with the image."""
        log_prob = self._log_prob_of(batch)
        loss = bits_per_dim(log_prob, self.num_dims).mean()
        size = len(log_prob)
        nats = nats_per_dim(log_prob.detach(), self.num_dims).mean()
        for name, value in [("bits_per_dim", loss.detach()), ("nats_per_dim", nats)]:
            self.log(
                f"train/{name}",
                value,
                batch_size=size,
                prog_bar=name == "bits_per_dim",
                sync_dist=self.trainer.world_size > 1,
            )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch into ``val/bits_per_dim`` and ``val/nats_per_dim``."""
        self._measure("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch into ``test/bits_per_dim`` and ``test/nats_per_dim``."""
        self._measure("test", batch)

    def setup(self, stage: str) -> None:
        """Initialise from the first batch before anything wraps the module; not on resume."""
        if stage == "fit" and self.data_init and self.trainer.ckpt_path is None:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            if not hasattr(data, "first_batch"):
                raise ValueError(
                    "data_init=True: needs a data module with first_batch(), as those in"
                    " pixelcnn_lit.data; with others build the model with data_init=False"
                )
            self.initialise(data.first_batch())

    def on_fit_start(self) -> None:
        """Take the names of the classes from the data, whatever a checkpoint called them."""
        if isinstance(self.condition, LabelCondition):
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self.class_names = getattr(data, "class_names", None)  # not all data have names

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Data-dependent initialisation, computed where training will be."""
        home, device = self.device, self.trainer.strategy.root_device
        self.to(device)
        images = batch["image"].to(device)
        value = self._batch_cond(batch)
        with self._evaluating():
            x = self._rescale(images)
            cond = self._network_cond(None if value is None else value.to(device), len(images), x)
            initialise(self.network, x, cond)
        self.to(home)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and the scheduler at every step."""
        return optimization(self.parameters(), self.make_optimizer, self.make_scheduler)

    def _batch_cond(self, batch: Batch) -> Tensor | None:
        """What the batch gives of the condition, beside its images."""
        key = self.condition.batch_key
        return None if key is None else batch[key]

    def _log_prob_of(self, batch: Batch) -> Tensor:
        return self._log_prob(batch["image"], self._batch_cond(batch))

    def _measure(self, stage: str, batch: Batch) -> None:
        log_prob = self._log_prob_of(batch)
        for name, metric in self.metrics[stage].items():  # type: ignore[operator]
            metric.update(log_prob, self.num_dims)
            self.log(
                f"{stage}/{name}", metric, on_step=False, on_epoch=True, prog_bar=name[0] == "b"
            )
