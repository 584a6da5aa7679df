"""Go through the positions of images in raster order and let a chooser fill them.

Networks that order the colours of a pixel are asked once per colour, others once per pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pixelcnn_lit.images import rescale
from pixelcnn_lit.likelihoods import AbstractLikelihood, AbstractPixels
from pixelcnn_lit.likelihoods.guided import GuidedPixels
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.sampling.choosers import AbstractRowChooser, Chooser, can_be_recorded
from pixelcnn_lit.sampling.graphs import AbstractRunner, runner
from pixelcnn_lit.sampling.raster import CachedWalk, NaiveWalk

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
    run_by: AbstractRunner | None = None,
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
        run_by: runs the work of each row; None for CUDA graphs where they are possible.

    Returns:
        uint8 levels (B, C, H, W).
    """
    if guidance != 1 and cond is None:
        raise ValueError(f"guidance={guidance}: needs a condition")
    run_by = run_by or runner(blank.device, recordable=cached and can_be_recorded(chooser))
    rows = _Rows(network, likelihood, blank, chooser, cond, temperature, guidance, cached)
    images = torch.zeros(blank.shape, dtype=torch.uint8, device=blank.device)
    for row in range(blank.shape[2]):
        with torch.inference_mode():  # a sixth faster than no_grad: less to do for small tensors
            rows.read(row)
            run_by.run(rows.raster.kind(row), partial(rows.fill, row))
            images[:, :, row] = rows.chosen.movedim(-1, 1)
        if on_row:
            on_row(images, row + 1)
    return images


class _Rows:
    """Fills a row; what is chosen in it lies always in the same place.

    Attributes:
        chosen: uint8 levels of the present row, (B, W, C).
    """

    def __init__(
        self,
        network: AbstractNetwork,
        likelihood: AbstractLikelihood,
        blank: Tensor,
        chooser: Chooser,
        cond: Tensor | None,
        temperature: float,
        guidance: float,
        cached: bool,
    ) -> None:
        batch, channels, _, width = blank.shape
        self.guided = guidance != 1
        x = blank
        if cond is not None and self.guided:
            x, cond = torch.cat([blank, blank]), torch.cat([cond, torch.zeros_like(cond)])
        self.raster = (CachedWalk if cached else NaiveWalk)(network, x, cond)
        self.likelihood = likelihood
        self.chooser = chooser
        self.temperature = temperature
        self.guidance = guidance
        self.dtype = blank.dtype
        colors = [slice(c, c + 1) for c in range(channels)]
        self.passes = colors if network.orders_channels else [slice(None)]
        self.chosen = torch.zeros(batch, width, channels, dtype=torch.uint8, device=blank.device)
        self.columns = self.chosen.unbind(1)

    def read(self, row: int) -> None:
        """Put what belongs to this very row in place."""
        self.raster.read_row(row)
        if isinstance(self.chooser, AbstractRowChooser):
            self.chooser.read_row(row)

    def fill(self, row: int) -> None:
        """Choose all pixels of the row; the same work for all rows of a kind."""
        self.raster.start_row(row)
        for column, levels in enumerate(self.columns):
            for chosen in self.passes:
                pixels = self._pixels(self.raster.params(row, column))
                levels[:, chosen] = self.chooser(pixels, row, column)[:, chosen]
                x = rescale(levels.to(self.dtype), self.likelihood.num_levels)[:, : chosen.stop]
                self.raster.paint(row, column, torch.cat([x, x]) if self.guided else x)

    def _pixels(self, params: Tensor) -> AbstractPixels:
        if not self.guided:
            return self.likelihood(params, self.temperature)
        with_cond, without = (self.likelihood(half, self.temperature) for half in params.chunk(2))
        return GuidedPixels(with_cond, without, self.guidance)
