"""Raster walk: go through the positions of images and let a chooser fill them.

Networks that order the colours of a pixel are asked once per colour, others once per pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pixelcnn_lit.images import level_dtype
from pixelcnn_lit.likelihoods import AbstractPixels
from pixelcnn_lit.likelihoods.guided import GuidedPixels
from pixelcnn_lit.sampling.choosers import AbstractRowChooser, Chooser, can_be_recorded
from pixelcnn_lit.sampling.graphs import Runner, runner
from pixelcnn_lit.sampling.pixel_model import PixelModel
from pixelcnn_lit.sampling.scans import CachedScan

RowHook = Callable[[Tensor, int], None]
"""Told the images so far, levels (B, C, H, W), and how many rows are finished."""


@torch.no_grad()
def walk(
    model: PixelModel,
    chooser: Chooser,
    num_images: int,
    *,
    cond: Tensor | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    on_row: RowHook | None = None,
    run_by: Runner | None = None,
) -> Tensor:
    """Go through the positions of B images in raster order and let ``chooser`` fill them.

    Args:
        model: its network in evaluation mode.
        chooser: what to put at each position.
        num_images: B.
        cond: as the network takes it.
        temperature: above 0; see the likelihoods.
        guidance: other than 1, also walk without the condition (zeros) and mix the two; see
            :class:`~pixelcnn_lit.likelihoods.guided.GuidedPixels`. Needs a ``cond``.
        on_row: told about every finished row.
        run_by: runs the work of each row; None for CUDA graphs where they are possible.

    Returns:
        Levels (B, C, H, W) of :func:`~pixelcnn_lit.images.level_dtype`.
    """
    x = model.blank(num_images)
    run_by = run_by or runner(x.device, recordable=can_be_recorded(chooser))
    filler = _RowFiller(model, x, chooser, cond, temperature, guidance)
    dtype = level_dtype(model.likelihood.num_levels)
    images = torch.zeros(num_images, *model.image_shape, dtype=dtype, device=x.device)
    for row in range(model.image_size[0]):
        # a sixth faster than no_grad: less to do for small tensors
        with torch.inference_mode(), model.network.uncompiled():
            filler.read(row)
            run_by(filler.scan.kind(row), partial(filler.fill, row))
            images[:, :, row] = filler.chosen.movedim(-1, 1)
        if on_row:
            on_row(images, row + 1)
    return images


class _RowFiller:
    """Fills a row; what is chosen in it lies always in the same place.

    Attributes:
        chosen: levels of the present row, (B, W, C).
    """

    def __init__(
        self,
        model: PixelModel,
        x: Tensor,
        chooser: Chooser,
        cond: Tensor | None,
        temperature: float,
        guidance: float,
    ) -> None:
        batch, channels, width = len(x), model.likelihood.channels, x.shape[-1]
        self.guided = guidance != 1
        if cond is not None and self.guided:
            x, cond = torch.cat([x, x]), torch.cat([cond, torch.zeros_like(cond)])
        self.scan = CachedScan(model.network, x, cond)
        self.model = model
        self.chooser = chooser
        self.temperature = temperature
        self.guidance = guidance
        colors = [slice(c, c + 1) for c in range(channels)]
        self.passes = colors if model.network.orders_channels else [slice(None)]
        dtype = level_dtype(model.likelihood.num_levels)
        self.chosen = torch.zeros(batch, width, channels, dtype=dtype, device=x.device)
        self.columns = self.chosen.unbind(1)

    def read(self, row: int) -> None:
        """Put what belongs to this very row in place."""
        self.scan.read_row(row)
        if isinstance(self.chooser, AbstractRowChooser):
            self.chooser.read_row(row)

    def fill(self, row: int) -> None:
        """Choose all pixels of the row; the same work for all rows of a kind."""
        self.scan.start_row(row)
        for column, levels in enumerate(self.columns):  # each (B, C)
            for chosen in self.passes:
                pixels = self._pixels(self.scan.params(row, column))
                levels[:, chosen] = self.chooser(pixels, row, column)[:, chosen]
                x = self.model.input(levels[:, : chosen.stop])  # (B, floats of these colours)
                self.scan.paint(row, column, torch.cat([x, x]) if self.guided else x)

    def _pixels(self, params: Tensor) -> AbstractPixels:
        likelihood = self.model.likelihood
        if not self.guided:
            return likelihood(params, self.temperature)
        with_cond, without = (likelihood(half, self.temperature) for half in params.chunk(2))
        return GuidedPixels(with_cond, without, self.guidance)
