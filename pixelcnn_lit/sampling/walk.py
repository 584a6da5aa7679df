"""Go through the positions of images in raster order and let a chooser fill them.

Networks that order the colours of a pixel are asked once per colour, others once per pixel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pixelcnn_lit.images import rescale
from pixelcnn_lit.likelihoods import AbstractLikelihood, AbstractPixels
from pixelcnn_lit.likelihoods.guided import GuidedPixels
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.sampling.raster import CachedWalk, NaiveWalk

Chooser = Callable[[AbstractPixels, int, int], Tensor]
"""(distribution of B pixels, row, column) to levels (B, C)."""

RowHook = Callable[[Tensor, int], None]
"""Told the images so far, uint8 (B, C, H, W), and how many rows are finished."""


@torch.no_grad()
def walk(
    network: AbstractNetwork,
    likelihood: AbstractLikelihood,
    blank: Tensor,
    chooser: Chooser,
    *,
    cond: Tensor | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
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
        temperature: above 0; see the likelihoods.
        guidance: other than 1, also walk without the condition (zeros) and mix the two; see
            :class:`~pixelcnn_lit.likelihoods.guided.GuidedPixels`.
        cached: compute each activation once; False for the naive reference.
        on_row: told about every finished row.

    Returns:
        uint8 levels (B, C, H, W).
    """
    _, channels, height, width = blank.shape
    if guidance != 1 and cond is None:
        raise ValueError(f"guidance={guidance}: needs a condition")
    x = blank
    guided = guidance != 1
    if cond is not None and guided:
        x, cond = torch.cat([blank, blank]), torch.cat([cond, torch.zeros_like(cond)])
    raster = (CachedWalk if cached else NaiveWalk)(network, x, cond)
    images = torch.zeros(blank.shape, dtype=torch.uint8, device=blank.device)
    colors = [slice(c, c + 1) for c in range(channels)]
    for row in range(height):
        raster.start_row(row)
        for column in range(width):
            levels = images[:, :, row, column]
            for chosen in colors if network.orders_channels else [slice(None)]:
                params = raster.params(row, column)
                if guided:
                    with_cond, without = params.chunk(2)
                    pixels: AbstractPixels = GuidedPixels(
                        likelihood(with_cond, temperature),
                        likelihood(without, temperature),
                        guidance,
                    )
                else:
                    pixels = likelihood(params, temperature)
                levels[:, chosen] = chooser(pixels, row, column)[:, chosen].to(torch.uint8)
                x = rescale(levels.to(blank.dtype), likelihood.num_levels)[:, : chosen.stop]
                raster.paint(row, column, torch.cat([x, x]) if guided else x)
        if on_row:
            on_row(images, row + 1)
    return images
