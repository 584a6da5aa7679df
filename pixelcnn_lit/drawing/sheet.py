"""Sheet of drawn images beside what they came from: as picture, animation, array, single files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from pixelcnn_lit.drawing.options import SampleOptions
from pixelcnn_lit.drawing.pictures import write_animation, write_picture
from pixelcnn_lit.drawing.rounds import Rounds
from pixelcnn_lit.images import image_grid, to_bytes

_HIDDEN = torch.tensor(128, dtype=torch.uint8)  # stands for a pixel not yet drawn


@dataclass(frozen=True)
class Sheet:
    """Images row by row.

    Attributes:
        tiles: levels (N, C, H, W).
        drawn: bool (N,), which of them were drawn.
        num_columns: images per row.
        num_levels: levels of a colour.
        given: bool (H, W), the pixels of the drawn ones that were there before; None for none.
        touching: so many neighbours in a row belong together and have no gaps between them.
    """

    tiles: Tensor
    drawn: Tensor
    num_columns: int
    num_levels: int
    given: Tensor | None = None
    touching: int = 1

    def picture(self, pictures: Tensor) -> Tensor:
        """The tiles as bytes (N, C, H, W), side by side: uint8 (height, width, 3)."""
        strips = rearrange(pictures, "(n k) c h w -> n c h (k w)", k=self.touching)
        return image_grid(strips, 256, num_columns=self.num_columns // self.touching)


def lay_out(rounds: Rounds, images: list[Tensor], num_levels: int) -> Sheet:
    """The sheet of the rounds that are finished.

    Args:
        rounds: what was asked for.
        images: levels (N, C, H, W) of every finished round, fewer of a single unfinished one.
        num_levels: levels of a colour.
    """
    columns = [*rounds.before, *images, *rounds.after]
    tiles = torch.stack([column[: len(images[0])] for column in columns])
    is_drawn = torch.zeros(len(columns), dtype=torch.bool)
    is_drawn[len(rounds.before) :][: len(images)] = True
    return Sheet(
        rearrange(tiles, "column row ... -> (row column) ..."),
        is_drawn.repeat(len(images[0])),
        rounds.abreast * len(columns),
        num_levels,
        rounds.given,
        touching=len(columns) if rounds.abreast > 1 else 1,
    )


def write(folder: Path, sheet: Sheet, options: SampleOptions) -> Iterator[Path]:
    """Write ``samples.png`` and what else is asked for into a folder, what is worth most first.

    That is ``samples.npy`` (N, C, H, W) with the levels of the drawn images, ``images/00000.png``
    and so on, and ``samples.gif`` or ``samples.webp``.

    Yields:
        Each file or folder once it is whole.

    Raises:
        OSError: if a file cannot be written; those before it are whole.
    """
    drawn = sheet.tiles[sheet.drawn]
    if options.npy:
        np.save(folder / "samples.npy", drawn.numpy())
        yield folder / "samples.npy"
    if options.individual:
        (folder / "images").mkdir()
        for number, image in enumerate(drawn):
            picture = image_grid(image[None], sheet.num_levels, num_columns=1, padding=0)
            write_picture(folder / "images" / f"{number:05d}.png", picture, min_width=1)
        yield folder / "images"
    write_picture(folder / "samples.png", sheet.picture(to_bytes(sheet.tiles, sheet.num_levels)))
    yield folder / "samples.png"
    if options.animation is not None:
        file = folder / f"samples.{options.animation}"
        write_animation(file, appearing(sheet, options.pixels_per_frame or sheet.tiles.shape[-1]))
        yield file


def appearing(sheet: Sheet, pixels_per_frame: int) -> Iterator[Tensor]:
    """The images as they were drawn, pixel after pixel in raster order; the others stand still.

    Yields:
        uint8 pictures (height, width, 3), from empty to finished.
    """
    height, width = sheet.tiles.shape[-2:]
    order = torch.arange(height * width).view(height, width)
    pictures = to_bytes(sheet.tiles, sheet.num_levels)
    for number in range(0, height * width + pixels_per_frame, pixels_per_frame):
        known = order < number if sheet.given is None else sheet.given | (order < number)
        visible = known | ~sheet.drawn[:, None, None, None]
        yield sheet.picture(pictures.where(visible, _HIDDEN))
