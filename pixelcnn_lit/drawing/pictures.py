"""Picture files: a folder of them read as levels, pictures and animations written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pixelcnn_lit.data.tables.decoding import ImageDecoder, holds_bytes
from pixelcnn_lit.images import enlarge
from pixelcnn_lit.messages import OptionError

AnimationFormat = Literal["gif", "webp"]

MIN_WIDTH = 512
"""Small pictures are enlarged to about so many pixels."""
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
        levels (N, C, H, W).

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


def read_picture(option: str, file: Path, mode: Literal["L", "RGB"]) -> np.ndarray:
    """The bytes of a picture file, converted: (H, W) of mode L, (H, W, 3) of RGB.

    Raises:
        OptionError: naming the option that led to it, if it cannot be read, or has pixels of more
            than a byte per colour.
    """
    try:
        with Image.open(file) as picture:
            if not holds_bytes(picture):
                raise OptionError(f"{option}: {file} has pixels of mode {picture.mode}, not bytes")
            return np.asarray(picture.convert(mode))
    except (OSError, SyntaxError) as error:  # SyntaxError: of a broken chunk
        raise OptionError(f"{option}: {file} is no picture that can be read") from error


def _of_shape(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """One picture of ``images``, bytes (H, W, C)."""
    channels, height, width = shape
    pixels = read_picture("images", file, "L" if channels == 1 else "RGB")
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
