"""What every model is to those who use it: exact log-probabilities of images, and new images."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from lightning import LightningModule
from torch import Tensor

from pixelcnn_lit import sampling
from pixelcnn_lit.images import height_and_width, rescale
from pixelcnn_lit.likelihoods import AbstractLikelihood
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.networks.conditions import AbstractCondition, mix

MOST_LEVELS = 256


class AbstractGenerativeModel(LightningModule, ABC):
    """A network, a likelihood and a condition: levels to nats, and the way back.

    Attributes:
        network: floats (B, C, H, W) in [-1, 1] to parameters.
        likelihood: parameters to the distribution of the levels.
        condition: what the network is conditioned on.
        image_size: (H, W).
        class_names: what the labels 0, 1, … stand for, from the data trained on; kept in the
            checkpoint.
    """

    class_names: list[str] | None = None

    def __init__(
        self,
        network: AbstractNetwork,
        likelihood: AbstractLikelihood,
        condition: AbstractCondition,
        image_size: Iterable[int],
    ) -> None:
        super().__init__()
        self.network = network
        self.likelihood = likelihood
        self.condition = condition
        if likelihood.num_levels > MOST_LEVELS:
            raise ValueError(
                f"num_levels={likelihood.num_levels}: at most {MOST_LEVELS}, images are uint8"
            )
        self.image_size = height_and_width(image_size)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.likelihood.channels, *self.image_size)

    @property
    def num_dims(self) -> int:
        """C·H·W."""
        channels, height, width = self.image_shape
        return channels * height * width

    def log_prob(self, images: Tensor, cond: Tensor | None = None) -> Tensor:
        """Log-probability of images.

        Args:
            images: uint8 levels (B, C, H, W).
            cond: labels (B,), mixtures of labels (B, num_classes), embeddings (B, D) or maps
                (B, D, H, W), or codes, as the model was built. An autoencoder given None encodes
                the images.

        Returns:
            Nats per image (B,), float32 also under autocast.

        Raises:
            ValueError: if the images or the cond are not what the model was built for.
        """
        self._check_images(images)
        if cond is not None or not self.condition.reads_images:
            self._check_cond(cond, len(images))
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
        cached: bool = True,
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
            images: uint8 levels (N, C, H, W) to complete.
            generator: seeds the images; torch's global generator if None.
            seeds: one per image, instead of a generator's.
            batch_size: images drawn at a time; None for what fits into memory.
            cached: compute each activation once; False for the naive reference.
            on_row: told the batch so far and the number of finished rows.
            on_batch: given every finished batch at once, to keep it should the rest not come.

        Returns:
            uint8 levels (N, C, H, W) on the model's device.

        Raises:
            ValueError: naming the argument, if one is out of range.
        """
        self._check_cond(cond, num_images)
        request = sampling.Request(
            self.likelihood,
            self.image_size,
            num_images,
            temperature=temperature,
            guidance=guidance,
            given=given,
            images=images,
            generator=generator,
            seeds=seeds,
        )
        if guidance != 1 and not self.condition.label_dropout:
            raise ValueError(f"guidance={guidance}: needs a model trained with label_dropout > 0")
        if guidance != 1 and cond is None:
            raise ValueError(f"guidance={guidance}: needs a cond to be guided to")
        images_so_far = [torch.empty(0, *self.image_shape, dtype=torch.uint8, device=self.device)]
        for batch in self._batches(request, cond, batch_size, cached, on_row):
            if on_batch is not None:
                on_batch(batch)
            images_so_far.append(batch)
        return torch.cat(images_so_far)

    @torch.no_grad()
    def interpolate(
        self,
        first: Tensor,
        second: Tensor,
        num_steps: int,
        *,
        temperature: float = 1.0,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw images on the way from one condition to another.

        Every step draws from the same random numbers, so that what changes along the way is the
        condition's doing.

        Args:
            first: B conditions, as for :meth:`sample`: labels, embeddings or codes.
            second: as many, of the same kind.
            num_steps: at least 2; both ends are included.
            temperature: as for :meth:`sample`.
            guidance: as for :meth:`sample`.
            generator: seeds the images; torch's global generator if None.

        Returns:
            uint8 levels (num_steps, B, C, H, W) on the model's device.

        Raises:
            ValueError: naming the argument, if one is out of range or of the wrong size.
        """
        ends = []
        for end in (first, second):
            if end is None:
                raise ValueError("first and second: conditions are needed")
            self._check_cond(end, len(first))
            with self._evaluating():
                ends.append(self._network_cond(end.to(self.device), len(first)))
        [seed] = sampling.draw_seeds(1, generator)
        seeds = sampling.draw_seeds(len(first), torch.Generator().manual_seed(seed))
        images = self.sample(
            num_steps * len(first),
            mix(ends[0], ends[1], num_steps).flatten(0, 1),
            temperature=temperature,
            guidance=guidance,
            seeds=seeds * num_steps,
        )
        return images.unflatten(0, (num_steps, -1))

    @torch.no_grad()
    def _batches(
        self,
        request: sampling.Request,
        cond: Tensor | None,
        batch_size: int | None,
        cached: bool,
        on_row: sampling.RowHook | None,
    ) -> Iterator[Tensor]:
        blank = next(self.network.parameters()).new_zeros(1, *self.image_shape)
        with self._evaluating():  # else dropout would use up random numbers of the training
            size = batch_size or sampling.fitting_batch_size(
                self.network, blank, guided=request.guidance != 1
            )
        for part in request.parts(size):
            value = None if cond is None else cond[part].to(self.device)
            with self._evaluating(), torch.autocast(self.device.type, enabled=False):
                of_network = self._network_cond(value, part.stop - part.start)
                batch = request.draw(
                    self.network, blank, part, of_network, cached=cached, on_row=on_row
                )
            yield batch

    def _network_cond(
        self, value: Tensor | None, num_images: int, x: Tensor | None = None
    ) -> Tensor | None:
        """The cond of the network; zeros stand for no label."""
        cond = self.condition(value, x)
        if cond is None and self.condition.cond_channels:
            cond = torch.zeros(num_images, self.condition.cond_channels, device=self.device)
        return None if cond is None else cond.to(self._weights_dtype)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Say which class reads the file again, and what its labels are called."""
        checkpoint["model_class"] = type(self).__name__
        checkpoint["class_names"] = self.class_names

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take up what the labels are called."""
        self.class_names = cast("list[str] | None", checkpoint.get("class_names"))

    def _log_prob(self, images: Tensor, cond: Tensor | None) -> Tensor:
        """``log_prob`` of a batch the data module has checked: nothing waits for the device."""
        x = self._rescale(images)
        pixels = self.likelihood(self.network(x, self._network_cond(cond, len(images), x)))
        return pixels.log_prob(images.movedim(1, -1)).sum((1, 2))

    @property
    def _weights_dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def _rescale(self, images: Tensor) -> Tensor:
        """Levels as the network takes them."""
        return rescale(images.to(self._weights_dtype), self.likelihood.num_levels)

    def _check_cond(self, cond: Tensor | None, num_images: int) -> None:
        if cond is not None and not isinstance(cond, Tensor):
            raise ValueError(f"cond={cond}: a tensor is needed")
        self.condition.check(cond, num_images)

    def _check_images(self, images: Tensor) -> None:
        if images.is_floating_point():
            raise ValueError(f"images of {images.dtype}: this model takes levels, uint8")
        if images.shape[1:] != self.image_shape:
            wanted = ("B", *self.image_shape)
            raise ValueError(f"images of shape {tuple(images.shape)}: this model takes {wanted}")
        num_levels = self.likelihood.num_levels
        if images.numel() and not 0 <= int(images.min()) <= int(images.max()) < num_levels:
            raise ValueError(
                f"images hold levels {int(images.min())} … {int(images.max())}: this model has "
                f"0 … {num_levels - 1}"
            )

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)
