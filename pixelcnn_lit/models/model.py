"""Abstract model: trained on levels, measured in bits/dim, and sampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from pixelcnn_lit import sampling
from pixelcnn_lit.images import Batch, check_levels, height_and_width, level_dtype
from pixelcnn_lit.metrics import bits_per_dim, nats_per_dim, per_dim_metrics
from pixelcnn_lit.models.tables import (
    TABLES,
    Options,
    Value,
    all_options,
    make_input,
    make_likelihood,
    make_network,
)
from pixelcnn_lit.models.trained import AbstractTrained, OptimizerFactory, SchedulerFactory
from pixelcnn_lit.networks.base import evaluating
from pixelcnn_lit.networks.conditions import AbstractCondition, LabelCondition, mix
from pixelcnn_lit.networks.weight_norm import initialise


class AbstractLitModel(AbstractTrained):
    """The one LightningModule of all variants: levels to nats, and the way back.

    A final class says what its network and likelihood usually are, and what it is conditioned on.
    All its arguments but the optimizer's and the scheduler's are plain values, which are saved in
    the checkpoint, so that ``load_from_checkpoint(path)`` needs nothing else.

    Args:
        channels: colours of an image, C.
        num_levels: levels of a colour.
        image_size: [H, W].
        condition: what the network is conditioned on.
        network: name and options of the network, see :mod:`~pixelcnn_lit.models.tables`.
        likelihood: likewise. The network orders the colours of a pixel if the likelihood does not
            couple them.
        input: likewise; None for ordered levels.
        optimizer: makes the optimizer from the parameters; Adam at 1e-3 if None.
        scheduler: makes the learning-rate scheduler from the optimizer, stepped at every step.
        own_options: further arguments of the final class, to be saved.

    Attributes:
        pixel_model: input, network, likelihood and size, as sampling takes them; they are
            attributes of the model, too.
        metrics: bits and nats per dimension over whole splits, by stage and name.
        tables: what ``network``, ``likelihood`` and ``input`` may name.

    Raises:
        ValueError: naming the argument, if one is out of range.
    """

    validation_metrics = ("val/bits_per_dim", "val/nats_per_dim")
    tables: ClassVar = TABLES

    def __init__(
        self,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        condition: AbstractCondition,
        *,
        network: Options,
        likelihood: Options,
        input: Options | None,
        optimizer: OptimizerFactory | None,
        scheduler: SchedulerFactory | None,
        own_options: dict[str, Value],
    ) -> None:
        super().__init__(optimizer, scheduler)
        input = input or {"name": "levels"}
        self.image_size = height_and_width(image_size)
        self.input = make_input(input, channels, num_levels)
        self.likelihood = make_likelihood(likelihood, channels, num_levels)
        self.network = make_network(
            network, self.input, self.likelihood, condition.cond_channels, self.image_size
        )
        self.condition = condition
        self.pixel_model = sampling.PixelModel(
            self.input, self.network, self.likelihood, self.image_size
        )
        self.metrics = nn.ModuleDict({stage: per_dim_metrics() for stage in ("val", "test")})
        plain = {
            **{"channels": channels, "num_levels": num_levels, "image_size": [*self.image_size]},
            "network": all_options("network", network),
            "likelihood": all_options("likelihood", likelihood),
            "input": all_options("input", input),
        }
        self.save_hyperparameters(plain | own_options)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.pixel_model.image_shape

    @property
    def num_dims(self) -> int:
        """C·H·W."""
        return math.prod(self.image_shape)

    def log_prob(self, images: Tensor, cond: Tensor | None = None) -> Tensor:
        """Log-probability of images.

        Args:
            images: levels (B, C, H, W).
            cond: labels (B,), mixtures of labels (B, num_classes), embeddings (B, D) or maps
                (B, D, H, W), or codes, as the model was built. An autoencoder given None encodes
                the images.

        Returns:
            Nats per image (B,), float32 also under autocast.

        Raises:
            ValueError: if the images or the cond are not what the model was built for.
        """
        check_levels(images, self.image_shape, self.likelihood.num_levels)
        if cond is not None or not self.condition.reads_images:
            self.condition.check(cond, len(images))
        return self._log_prob(images, cond)

    @torch.no_grad()
    def sample(
        self,
        num_images: int,
        cond: Tensor | None = None,
        *,
        temperature: float = 1.0,
        guidance: float = 1.0,
        given: Tensor | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        seeds: list[int] | None = None,
        batch_size: int | None = None,
        on_row: sampling.RowHook | None = None,
        on_batch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Draw images, or complete them where ``given`` is False.

        The same generator state gives the same images, however they are split into batches.

        Args:
            num_images: N.
            cond: as for :meth:`log_prob`, one per image.
            temperature: above 0; below 1 is sharper, 1 is the model itself.
            guidance: how far to go from the unconditional towards the conditional distribution
                (1 is conditional, above 1 beyond it); needs ``label_dropout`` in training.
            given: bool (H, W) or (N, H, W): pixels to keep from ``images``.
            images: levels (N, C, H, W) to complete.
            generator: seeds the images; torch's global generator if None.
            seeds: one per image, instead of a generator's.
            batch_size: images drawn at a time; None for what suits the device.
            on_row: told the batch so far and the number of finished rows.
            on_batch: given every finished batch at once, to keep it should the rest not come.

        Returns:
            Levels (N, C, H, W) on the model's device.

        Raises:
            ValueError: naming the argument, if one is out of range.
        """
        self.condition.check(cond, num_images)
        sampling.check_strengths(temperature, guidance)
        if guidance != 1 and not self.condition.label_dropout:
            raise ValueError(f"guidance={guidance}: needs a model trained with label_dropout > 0")
        if guidance != 1 and cond is None:
            raise ValueError(f"guidance={guidance}: needs a cond to be guided to")
        if seeds is None:
            seeds = sampling.draw_seeds(num_images, generator)
        if len(seeds) != num_images:
            raise ValueError(f"seeds: {len(seeds)} of them for {num_images} images")

        def cond_of(part: slice) -> Tensor | None:
            value = None if cond is None else cond[part].to(self.device)
            return self._network_cond(value, part.stop - part.start)

        dtype = level_dtype(self.likelihood.num_levels)
        drawn = [torch.empty(0, *self.image_shape, dtype=dtype, device=self.device)]
        with evaluating(self), torch.autocast(self.device.type, enabled=False):
            for batch in sampling.draw_batches(
                self.pixel_model,
                seeds,
                cond_of,
                temperature=temperature,
                guidance=guidance,
                given=given,
                images=images,
                batch_size=batch_size,
                on_row=on_row,
            ):
                if on_batch is not None:
                    on_batch(batch)
                drawn.append(batch)
        return torch.cat(drawn)

    @torch.no_grad()
    def interpolate(
        self,
        first: Tensor,
        second: Tensor,
        num_steps: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw images on the way from one condition to another.

        Every step draws from the same random numbers, so that what changes along the way is the
        condition's doing.

        Args:
            first: B conditions: labels, embeddings or codes.
            second: as many, of the same kind.
            num_steps: at least 2; both ends are included.
            generator: as for :meth:`sample`.

        Returns:
            Levels (num_steps, B, C, H, W) on the model's device.

        Raises:
            ValueError: naming the argument, if one is out of range or of the wrong size.
        """
        ends = []
        with evaluating(self):
            for end in (first, second):
                self.condition.check(end, len(first))
                ends.append(self._network_cond(end.to(self.device), len(first)))
        [seed] = sampling.draw_seeds(1, generator)
        seeds = sampling.draw_seeds(len(first), torch.Generator().manual_seed(seed))
        images = self.sample(
            num_steps * len(first),
            mix(ends[0], ends[1], num_steps).flatten(0, 1),
            seeds=seeds * num_steps,
        )
        return images.unflatten(0, (num_steps, -1))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, bits/dim of the batch: its gradient does not grow with the image."""
        log_prob = self._log_prob(batch["image"], self._cond_of(batch))
        loss = bits_per_dim(log_prob, self.num_dims).mean()
        nats = nats_per_dim(log_prob, self.num_dims).mean()
        size, sync = len(log_prob), self.trainer.world_size > 1
        self.log("train/bits_per_dim", loss, prog_bar=True, batch_size=size, sync_dist=sync)
        self.log("train/nats_per_dim", nats, batch_size=size, sync_dist=sync)
        return loss

    def setup(self, stage: str) -> None:
        """Initialise from the first batch before anything wraps the module; not on resume."""
        if stage == "fit" and self.network.data_init and self.trainer.ckpt_path is None:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            if not hasattr(data, "first_batch"):
                raise ValueError("network.data_init=True: needs a data module with first_batch()")
            self.initialise(data.first_batch())

    def on_fit_start(self) -> None:
        """Take the names of the classes from the data, whatever a checkpoint called them."""
        if isinstance(self.condition, LabelCondition):  # not all data have names
            self.class_names = getattr(self.trainer.datamodule, "class_names", None)  # type: ignore[attr-defined]

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Data-dependent initialisation, computed where training will be."""
        home, device = self.device, self.trainer.strategy.root_device
        self.to(device)
        levels, value = batch["image"].to(device), self._cond_of(batch)
        with evaluating(self):
            x = self.input(levels)
            cond = self._network_cond(None if value is None else value.to(device), len(x), x)
            initialise(self.network, x, cond)
        self.to(home)

    def _cond_of(self, batch: Batch) -> Tensor | None:
        """What the batch gives of the condition, beside its images."""
        key = self.condition.batch_key
        return None if key is None else batch[key]

    def _network_cond(
        self, value: Tensor | None, num_images: int, x: Tensor | None = None
    ) -> Tensor | None:
        """The cond of the network; zeros stand for no label."""
        cond = self.condition(value, x)
        if cond is None and self.condition.cond_channels:
            cond = torch.zeros(num_images, self.condition.cond_channels, device=self.device)
        return None if cond is None else cond.to(next(self.network.parameters()).dtype)

    def _log_prob(self, images: Tensor, cond: Tensor | None) -> Tensor:
        """``log_prob`` of a batch the data module has checked: nothing waits for the device."""
        x = self.input(images)
        pixels = self.likelihood(self.network(x, self._network_cond(cond, len(images), x)))
        return pixels.log_prob(images.movedim(1, -1)).sum((1, 2))

    def _measure(self, stage: str, batch: Batch) -> None:
        log_prob = self._log_prob(batch["image"], self._cond_of(batch))
        for name, metric in self.metrics[stage].items():  # type: ignore[operator]
            metric.update(log_prob, self.num_dims)
            self.log(f"{stage}/{name}", metric, on_epoch=True, prog_bar=name == "bits_per_dim")
