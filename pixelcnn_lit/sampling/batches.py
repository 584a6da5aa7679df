"""Images drawn batch by batch, the same however they are split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pixelcnn_lit.images import check_levels
from pixelcnn_lit.likelihoods import AbstractLikelihood
from pixelcnn_lit.sampling.choosers import Chooser, Complete, Draw
from pixelcnn_lit.sampling.pixel_model import PixelModel
from pixelcnn_lit.sampling.scans import CachedScan
from pixelcnn_lit.sampling.walk import RowHook, walk

CPU_BATCH = 64
"""Images drawn at a time on a CPU, where larger batches are hardly faster."""
LARGEST_BATCH = 512
MEMORY_SHARE = 0.4
"""How much of the free memory of a GPU the cache of a walk may take."""


def draw_batches(
    model: PixelModel,
    seeds: list[int],
    cond_of: Callable[[slice], Tensor | None],
    *,
    temperature: float = 1.0,
    guidance: float = 1.0,
    given: Tensor | None = None,
    images: Tensor | None = None,
    batch_size: int | None = None,
    on_row: RowHook | None = None,
) -> Iterator[Tensor]:
    """Draw images, or complete them where ``given`` is False.

    Args:
        model: its network in evaluation mode.
        seeds: one per image; the same seed means the same random numbers.
        cond_of: the condition of some of the images, as the network takes it.
        temperature: above 0.
        guidance: at least 0; 1 is the conditional distribution itself.
        given: bool (H, W) or (N, H, W), pixels kept from ``images``.
        images: levels (N, C, H, W).
        batch_size: images drawn at a time; None for what suits the device.
        on_row: told about every finished row.

    Yields:
        Levels (B, C, H, W), batch after batch.

    Raises:
        ValueError: naming the argument that is out of range or of the wrong size.
    """
    _check_completion(model, given, images, len(seeds))
    size = batch_size or fitting_batch_size(model, guided=guidance != 1)
    for start in range(0, len(seeds), size):
        part = slice(start, min(start + size, len(seeds)))
        cond = cond_of(part)
        uniforms = draw_uniforms(seeds[part], model.likelihood, model.image_size)
        device = device_of(model)
        chooser: Chooser = Draw(uniforms.to(device))
        if given is not None and images is not None:
            kept = given.expand(len(seeds), *model.image_size)[part]
            chooser = Complete(images[part].to(device), kept.to(device), chooser)
        yield walk(
            model,
            chooser,
            len(uniforms),
            cond=cond,
            temperature=temperature,
            guidance=guidance,
            on_row=on_row,
        )


def device_of(model: PixelModel) -> torch.device:
    """Where the network is."""
    return next(model.network.parameters()).device


def draw_seeds(num_images: int, generator: torch.Generator | None = None) -> list[int]:
    """A seed for every image, from one generator, torch's global one if None.

    Raises:
        ValueError: if ``num_images`` is below 0.
    """
    if num_images < 0:
        raise ValueError(f"num_images={num_images}: at least 0")
    device = None if generator is None else generator.device
    return torch.randint(2**62, (num_images,), generator=generator, device=device).tolist()


def draw_uniforms(
    seeds: list[int], likelihood: AbstractLikelihood, image_size: tuple[int, int]
) -> Tensor:
    """The random numbers of whole images, each image from a seed of its own.

    An image therefore gets the same numbers however many are drawn at a time, and on any device.

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
def fitting_batch_size(model: PixelModel, *, guided: bool = False) -> int:
    """How many images to draw at a time: on a GPU as many as its free memory holds.

    Measured: what a walk over two images keeps more than a walk over one.

    Args:
        model: its network in evaluation mode.
        guided: the walk holds every image twice, with the condition and without.
    """
    copies = 2 if guided else 1
    device = device_of(model)
    if device.type != "cuda":
        return CPU_BATCH // copies
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    room = (torch.cuda.mem_get_info(device)[0] + held) * MEMORY_SHARE
    per_image = (walk_bytes(model, 2) - walk_bytes(model, 1)) * copies
    return max(1, min(LARGEST_BATCH, int(room / per_image)))


@torch.no_grad()
def walk_bytes(model: PixelModel, num_images: int) -> int:
    """What a walk over images keeps from its first position to its last."""
    x, size = model.blank(num_images), model.network.cond_channels
    scan = CachedScan(model.network, x, x.new_zeros(num_images, size) if size else None)
    scan.start_row(0)
    scan.params(0, 0)  # the first position makes every cache there is
    return scan.cache.num_bytes()


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
    model: PixelModel, given: Tensor | None, images: Tensor | None, num_images: int
) -> None:
    if (given is None) != (images is None):
        raise ValueError("given and images belong together: the mask and the images it keeps")
    if given is None or images is None:
        return
    height, width = model.image_size
    shapes = ((height, width), (num_images, height, width))
    if given.dtype != torch.bool or tuple(given.shape) not in shapes:
        raise ValueError(
            f"given: {given.dtype} of shape {tuple(given.shape)}: a bool mask {shapes[0]} or "
            f"{shapes[1]} is needed"
        )
    if len(images) != num_images:
        raise ValueError(f"images: {len(images)} of them to complete, {num_images} to draw")
    check_levels(images, model.image_shape, model.likelihood.num_levels)
