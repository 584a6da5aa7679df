"""Picture files: a folder of them as levels, and levels as pictures and animations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pixelcnn_lit.data.tables.decoding import ImageDecoder, holds_bytes
from pixelcnn_lit.images import enlarge, image_grid, to_bytes
from pixelcnn_lit.messages import OptionError

AnimationFormat = Literal["gif", "webp"]

MIN_WIDTH = 512
"""Small pictures are enlarged to about so many pixels."""
HIDDEN = 128
"""The byte that stands for a pixel not yet drawn."""
DURATION = 3000
"""Of an animation until its last frame, in milliseconds."""
LAST_FRAME = 1500
"""How long the finished images stay, in milliseconds."""


def read_pictures(folder: Path, shape: tuple[int, int, int], num_levels: int) -> Tensor:
    """The pictures of a folder, in the order of their names, as levels.

    The levels are those that training reads from such pictures with ``quantize=true``. What
    :func:`~pixelcnn_lit.images.to_bytes` made bytes of comes back as it was for 2 to 27 levels and
    for powers of 2; with other numbers a level may come back as the one beside it.

    Args:
        folder: with .png, .jpg, .jpeg, .bmp or .webp files.
        shape: (C, H, W) that each must have; grey and colour are converted.
        num_levels: equal shares of the bytes 0 … 255.

    Returns:
        uint8 levels (N, C, H, W).

    Raises:
        OptionError: if there is none, or one cannot be read or has another size.
    """
    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
    files = [file for file in sorted(folder.glob("*")) if file.suffix.lower() in suffixes]
    if not files:
        raise OptionError(
            f"images={folder}: no folder with pictures ({', '.join(sorted(suffixes))})"
        )
    pictures = np.stack([_of_shape(file, shape) for file in files])
    decoder = ImageDecoder(shape[0], num_levels, shape[1:], quantize=True)
    levels = decoder.to_levels(pictures, lambda: f"images={folder}")
    return torch.from_numpy(levels).movedim(-1, 1).contiguous()


def read_picture(file: Path, mode: Literal["L", "RGB"]) -> np.ndarray:
    """The bytes of a picture file, converted: (H, W) of mode L, (H, W, 3) of RGB.

    Raises:
        OptionError: if it cannot be read, or has pixels of more than a byte per colour.
    """
    try:
        with Image.open(file) as picture:
            if not holds_bytes(picture):
                raise OptionError(f"{file} has pixels of mode {picture.mode}, not bytes")
            return np.asarray(picture.convert(mode))
    except (OSError, SyntaxError) as error:  # SyntaxError: of a broken chunk
        raise OptionError(f"{file} is no picture that can be read") from error


def _of_shape(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """One picture of ``images``, bytes (H, W, C)."""
    channels, height, width = shape
    try:
        pixels = read_picture(file, "L" if channels == 1 else "RGB")
    except ValueError as error:
        raise OptionError(f"images: {error}") from error
    if pixels.shape[:2] != (height, width):
        found = "x".join(map(str, pixels.shape[:2]))
        raise OptionError(f"images: {file} is {found}, the model draws {height}x{width}")
    return pixels.reshape(height, width, channels)


def write_picture(file: Path, picture: Tensor, min_width: int = MIN_WIDTH) -> None:
    """Write a picture, uint8 (height, width, 3), enlarged if it is small."""
    Image.fromarray(enlarge(picture, min_width).numpy()).save(file)


def write_animation(file: Path, frames: Iterable[Tensor]) -> None:
    """Write pictures, uint8 (height, width, 3), as an endless .gif or .webp."""
    first, *others = [Image.fromarray(enlarge(frame, MIN_WIDTH).numpy()) for frame in frames]
    duration = [max(20, DURATION // (1 + len(others)))] * len(others) + [LAST_FRAME]
    first.save(file, save_all=True, append_images=others, duration=duration, loop=0)


def appearing(
    tiles: Tensor,
    drawn: Tensor,
    given: Tensor | None,
    num_levels: int,
    *,
    num_columns: int,
    pixels_per_frame: int,
) -> Iterator[Tensor]:
    """The images as they were drawn, pixel after pixel in raster order.

    Args:
        tiles: uint8 levels (N, C, H, W), finished.
        drawn: bool (N,), those that appear; the others are there from the start.
        given: bool (H, W), pixels that were there from the start; None for none.
        num_levels: levels of a colour.
        num_columns: of the grid.
        pixels_per_frame: how many appear at a time.

    Yields:
        uint8 pictures (height, width, 3), from empty to finished.
    """
    height, width = tiles.shape[-2:]
    order = torch.arange(height * width).view(height, width)
    pictures = to_bytes(tiles, num_levels)
    hidden = torch.tensor(HIDDEN, dtype=torch.uint8)
    for number in range(0, height * width + pixels_per_frame, pixels_per_frame):
        known = order < number if given is None else given | (order < number)
        visible = known | ~drawn[:, None, None, None]
        yield image_grid(pictures.where(visible, hidden), 256, num_columns=num_columns)
