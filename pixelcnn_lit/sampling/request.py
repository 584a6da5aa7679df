"""A request for images: checked once, drawn in batches, the same however it is split."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pixelcnn_lit.likelihoods import AbstractLikelihood
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.sampling.choosers import Chooser, Complete, Draw
from pixelcnn_lit.sampling.memory import free_memory
from pixelcnn_lit.sampling.raster import CachedWalk
from pixelcnn_lit.sampling.walk import RowHook, walk

LARGEST_BATCH = 512
MEMORY_SHARE = 0.4
"""How much of the free memory the caches of a walk may take."""


class Request:
    """How many images, at what temperature, with which pixels given, from which seeds.

    Args:
        likelihood: of the pixels.
        image_size: (H, W).
        num_images: N, at least 0.
        temperature: above 0.
        guidance: at least 0; 1 is the conditional distribution itself.
        given: bool (H, W) or (N, H, W), pixels kept from ``images``.
        images: uint8 levels (N, C, H, W).
        generator: seeds the images; torch's global generator if None.
        seeds: one per image, instead of a generator's; the same seed means the same random
            numbers.

    Raises:
        ValueError: naming the argument that is out of range or of the wrong size.
    """

    def __init__(
        self,
        likelihood: AbstractLikelihood,
        image_size: tuple[int, int],
        num_images: int,
        *,
        temperature: float = 1.0,
        guidance: float = 1.0,
        given: Tensor | None = None,
        images: Tensor | None = None,
        generator: torch.Generator | None = None,
        seeds: list[int] | None = None,
    ) -> None:
        shape = (likelihood.channels, *image_size)
        if num_images < 0:
            raise ValueError(f"num_images={num_images}: at least 0")
        check_strengths(temperature, guidance)
        if seeds is not None and len(seeds) != num_images:
            raise ValueError(f"seeds: {len(seeds)} of them for {num_images} images")
        _check_completion(given, images, num_images, shape, likelihood.num_levels)
        self.likelihood = likelihood
        self.image_size = image_size
        self.num_images = num_images
        self.temperature = temperature
        self.guidance = guidance
        self.given = None if given is None else given.expand(num_images, *image_size)
        self.images = images
        self.seeds = draw_seeds(num_images, generator) if seeds is None else seeds

    def draw(
        self,
        network: AbstractNetwork,
        blank: Tensor,
        part: slice,
        cond: Tensor | None,
        *,
        cached: bool = True,
        on_row: RowHook | None = None,
    ) -> Tensor:
        """The images of one part of the request.

        Args:
            network: in evaluation mode.
            blank: (1, C, H, W): says device and dtype.
            part: which images.
            cond: of these images, as the network takes it.
            cached: False for the naive walk.
            on_row: told about every finished row.

        Returns:
            uint8 levels (B, C, H, W).
        """
        uniforms = draw_uniforms(self.seeds[part], self.likelihood, self.image_size)
        chooser: Chooser = Draw(uniforms.to(blank.device))
        if self.given is not None and self.images is not None:
            images, given = (whole[part].to(blank.device) for whole in (self.images, self.given))
            chooser = Complete(images, given, chooser)
        return walk(
            network,
            self.likelihood,
            blank.expand(len(uniforms), -1, -1, -1),
            chooser,
            cond=cond,
            temperature=self.temperature,
            guidance=self.guidance,
            cached=cached,
            on_row=on_row,
        )

    def parts(self, batch_size: int) -> Iterator[slice]:
        """The request cut into batches."""
        for start in range(0, self.num_images, batch_size):
            yield slice(start, min(start + batch_size, self.num_images))


def draw_seeds(num_images: int, generator: torch.Generator | None = None) -> list[int]:
    """A seed for every image, from one generator."""
    device = None if generator is None else generator.device
    return torch.randint(2**62, (num_images,), generator=generator, device=device).tolist()


def draw_uniforms(
    seeds: list[int], likelihood: AbstractLikelihood, image_size: tuple[int, int]
) -> Tensor:
    """The random numbers of whole images, each image from a seed of its own.

    An image therefore gets the same numbers however a request is split into batches, and on any
    device.

    Returns:
        float32 (N, H, W, num_uniforms) in [0, 1), on the CPU.
    """
    num_uniforms = likelihood(torch.zeros(1, likelihood.num_params)).num_uniforms
    shape = (*image_size, num_uniforms)
    own = torch.Generator()
    uniforms = torch.empty(len(seeds), *shape, dtype=torch.float32)
    for image, seed in zip(uniforms, seeds, strict=True):
        image.copy_(torch.rand(shape, generator=own.manual_seed(seed), dtype=torch.float32))
    return uniforms


@torch.no_grad()
def fitting_batch_size(network: AbstractNetwork, blank: Tensor, *, guided: bool = False) -> int:
    """How many images a walk can hold in the free memory, at most ``LARGEST_BATCH``.

    Measured: what a walk over two images keeps more than a walk over one.

    Args:
        network: in evaluation mode.
        blank: (1, C, H, W): says size, device and dtype.
        guided: the walk holds every image twice, with the condition and without.
    """
    one, two = (walk_bytes(network, blank.expand(number, -1, -1, -1)) for number in (1, 2))
    per_image = (two - one) * (2 if guided else 1)
    return max(1, min(LARGEST_BATCH, int(free_memory(blank.device) * MEMORY_SHARE / per_image)))


@torch.no_grad()
def walk_bytes(network: AbstractNetwork, x: Tensor) -> int:
    """What a walk over images x (B, C, H, W) keeps from its first position to its last."""
    cond = x.new_zeros(len(x), network.cond_channels) if network.cond_channels else None
    raster = CachedWalk(network, x, cond)
    raster.start_row(0)
    raster.params(0, 0)  # the first position makes every cache there is
    return raster.walk.num_bytes()


def check_strengths(temperature: float, guidance: float) -> None:
    """Refuse a temperature or a guidance out of range.

    Raises:
        ValueError: naming it.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature}: above 0, and finite")
    if not 0 <= guidance < math.inf:
        raise ValueError(f"guidance={guidance}: at least 0; 1 is the conditional distribution")


def _check_completion(
    given: Tensor | None,
    images: Tensor | None,
    num_images: int,
    shape: tuple[int, int, int],
    num_levels: int,
) -> None:
    if (given is None) != (images is None):
        raise ValueError("given and images belong together: the mask and the images it keeps")
    if given is None or images is None:
        return
    _, height, width = shape
    if given.dtype != torch.bool or tuple(given.shape) not in (
        (height, width),
        (num_images, height, width),
    ):
        raise ValueError(
            f"given: {given.dtype} of shape {tuple(given.shape)}: a bool mask "
            f"({height}, {width}) or ({num_images}, {height}, {width}) is needed"
        )
    if tuple(images.shape) != (num_images, *shape):
        raise ValueError(f"images of shape {tuple(images.shape)}: {(num_images, *shape)} is needed")
    if images.numel() and int(images.max()) >= num_levels:
        raise ValueError(f"images hold level {int(images.max())}: the model has {num_levels}")
