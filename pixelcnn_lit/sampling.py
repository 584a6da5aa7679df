"""The raster walk over whole images: draw, complete, replay.

The walk asks the network for the parameters at one position, the likelihood for their
distribution and a *chooser* for the levels; it paints them and moves on. There are two walks with
one interface: the naive one runs the whole network at every position and is the reference, the
cached one computes every activation once.

Networks that order the colours of a pixel are asked once per colour, others once per pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from pixelcnn_lit.images import rescale
from pixelcnn_lit.likelihoods import AbstractLikelihood, AbstractPixels
from pixelcnn_lit.networks.base import AbstractNetwork

Chooser = Callable[[AbstractPixels, int, int], Tensor]
"""(distribution of B pixels, row, column) to levels (B, C)."""

RowHook = Callable[[Tensor, int], None]
"""Told the images so far, uint8 (B, C, H, W), and how many rows are finished."""


class AbstractRasterWalk(ABC):
    """Parameters at one position after another, from what has been painted."""

    @abstractmethod
    def start_row(self, row: int) -> None:
        """Prepare for the pixels of a row; all rows above are painted."""

    @abstractmethod
    def params(self, row: int, column: int) -> Tensor:
        """Parameters (B, num_params) of a pixel, from all pixels before it and its own colours."""

    @abstractmethod
    def paint(self, row: int, column: int, x: Tensor) -> None:
        """Write the pixel as far as it is chosen, (B, C) in [-1, 1]."""


class NaiveWalk(AbstractRasterWalk):
    """The reference: the whole network on the whole image, once per position."""

    def __init__(self, network: AbstractNetwork, x: Tensor, cond: Tensor | None) -> None:
        self.network = network
        self.x = torch.zeros_like(x)
        self.cond = cond

    def start_row(self, row: int) -> None:
        """Nothing is kept from row to row."""

    def params(self, row: int, column: int) -> Tensor:
        """See :class:`AbstractRasterWalk`."""
        return self.network(self.x, self.cond)[:, :, row, column]

    def paint(self, row: int, column: int, x: Tensor) -> None:
        """See :class:`AbstractRasterWalk`."""
        self.x[:, :, row, column] = x


class CachedWalk(AbstractRasterWalk):
    """The vertical part once per row, the horizontal part once per position."""

    def __init__(self, network: AbstractNetwork, x: Tensor, cond: Tensor | None) -> None:
        self.network = network
        self.x = x
        self.conds = network.conds(cond, network.canvas(x))
        self.walk = network.begin_walk(x)
        self.features: list[list[tuple[Tensor, ...]]] = []

    def start_row(self, row: int) -> None:
        """Run the vertical part on the rows above and hand its features out by column."""
        self.walk.stand(row, None)
        features = self.network.vertical(self.x, self.conds, self.walk)
        self.features = [
            [feature.unflatten(0, (len(self.x), -1)).unbind(1) for feature in level]
            for level in features
        ]
        if row:
            self.walk.start_row()

    def params(self, row: int, column: int) -> Tensor:
        """See :class:`AbstractRasterWalk`."""
        self.walk.stand(row, column)
        here = [
            [] if column % 2**level else [feature[column >> level] for feature in features]
            for level, features in enumerate(self.features)
        ]
        return self.network.horizontal(self.x, here, self.conds, self.walk)

    def paint(self, row: int, column: int, x: Tensor) -> None:
        """See :class:`AbstractRasterWalk`."""
        self.walk.paint(row, column, x)


@torch.no_grad()
def walk(
    network: AbstractNetwork,
    likelihood: AbstractLikelihood,
    blank: Tensor,
    chooser: Chooser,
    *,
    cond: Tensor | None = None,
    temperature: float = 1.0,
    cached: bool = True,
    on_row: RowHook | None = None,
) -> Tensor:
    """Go through the positions of B images in raster order and let ``chooser`` fill them.

    Args:
        network: in evaluation mode; must order the colours exactly if the likelihood does not.
        likelihood: gives the distribution of a pixel from its parameters.
        blank: (B, C, H, W), any values: says size, device and dtype.
        chooser: what to put at each position.
        cond: as the network takes it.
        temperature: > 0; see the likelihoods.
        cached: compute each activation once; False for the naive reference.
        on_row: told about every finished row.

    Returns:
        uint8 levels (B, C, H, W).
    """
    _, channels, height, width = blank.shape
    raster = (CachedWalk if cached else NaiveWalk)(network, blank, cond)
    images = torch.zeros(blank.shape, dtype=torch.uint8, device=blank.device)
    colors = [slice(c, c + 1) for c in range(channels)]
    for row in range(height):
        raster.start_row(row)
        for column in range(width):
            levels = images[:, :, row, column]
            for chosen in colors if network.orders_channels else [slice(None)]:
                pixels = likelihood(raster.params(row, column), temperature)
                levels[:, chosen] = chooser(pixels, row, column)[:, chosen].to(torch.uint8)
                x = rescale(levels.to(blank.dtype), likelihood.num_levels)
                raster.paint(row, column, x[:, : chosen.stop])
        if on_row:
            on_row(images, row + 1)
    return images


def draw(uniforms: Tensor) -> Chooser:
    """Draw each pixel from its distribution.

    Args:
        uniforms: (B, H, W, num_uniforms) in [0, 1); the same numbers give the same images.
    """

    def choose(pixels: AbstractPixels, row: int, column: int) -> Tensor:
        return pixels.quantile(uniforms[:, row, column])

    return choose


def choose_likeliest(pixels: AbstractPixels, row: int, column: int) -> Tensor:
    """The greedy chooser: colour by colour the most probable level."""
    return pixels.mode


def replay(images: Tensor) -> Chooser:
    """Teacher forcing: put down the given images (B, C, H, W)."""
    return lambda pixels, row, column: images[:, :, row, column]


def complete(images: Tensor, given: Tensor, otherwise: Chooser) -> Chooser:
    """Keep the pixels of ``images`` where ``given``, let another chooser fill the rest.

    Args:
        images: levels (B, C, H, W).
        given: bool (H, W) or (B, H, W); a pixel is kept with all its colours.
        otherwise: chooses the other pixels.
    """
    mask = given.expand(len(images), *given.shape[-2:])

    def choose(pixels: AbstractPixels, row: int, column: int) -> Tensor:
        levels = otherwise(pixels, row, column)
        kept = images[:, :, row, column].to(levels.dtype)
        return torch.where(mask[:, row, column, None], kept, levels)

    return choose


def draw_uniforms(
    num_images: int,
    likelihood: AbstractLikelihood,
    image_size: tuple[int, int],
    generator: torch.Generator | None = None,
) -> Tensor:
    """The random numbers of whole images, each image from a seed of its own.

    An image therefore stays the same however a request is split into batches, and on any device.

    Args:
        num_images: N.
        likelihood: says how many numbers a pixel takes.
        image_size: (H, W).
        generator: seeds the images; torch's global generator if None.

    Returns:
        float32 (N, H, W, num_uniforms) in [0, 1), on the CPU.
    """
    num_uniforms = likelihood(torch.zeros(1, likelihood.num_params)).num_uniforms
    seeds = torch.randint(2**62, (num_images,), generator=generator)
    own = torch.Generator()
    shape = (*image_size, num_uniforms)
    images = [
        torch.rand(shape, generator=own.manual_seed(int(s)), dtype=torch.float32) for s in seeds
    ]
    return torch.stack(images) if images else torch.empty(0, *shape)
