"""Images as integer levels, and what turns them into floats or pictures."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

# What data give and models take: ``image`` levels (B, C, H, W) of ``level_dtype`` and, where there
# are any, ``label`` int64 (B,) and ``embedding`` float32 (B, D) or (B, D, H, W).
Batch = dict[str, Tensor]

FACTS = ("channels", "num_levels", "image_size", "num_classes", "embedding_dim")
"""What a model is built for and data have."""


def level_dtype(num_levels: int) -> torch.dtype:
    """The smallest integer type that holds levels 0 … num_levels−1.

    >>> level_dtype(256), level_dtype(257), level_dtype(2**16)
    (torch.uint8, torch.int16, torch.int32)
    """
    kinds = (torch.uint8, torch.int16, torch.int32)
    return next(kind for kind in kinds if num_levels - 1 <= torch.iinfo(kind).max)


def check_levels(images: Tensor, image_shape: tuple[int, int, int], num_levels: int) -> None:
    """Refuse images that are not levels of a model.

    Args:
        images: any.
        image_shape: (C, H, W).
        num_levels: levels of a colour.

    Raises:
        ValueError: naming what is wrong: type, shape or values.
    """
    if images.is_floating_point() or images.dtype == torch.bool:
        raise ValueError(f"images of {images.dtype}: this model takes levels, whole numbers")
    if images.shape[1:] != image_shape:
        wanted = ("B", *image_shape)
        raise ValueError(f"images of shape {tuple(images.shape)}: this model takes {wanted}")
    if not images.numel():
        return
    low, high = (int(level) for level in images.aminmax())
    if low < 0 or high >= num_levels:
        raise ValueError(f"images hold levels {low} … {high}: this model has 0 … {num_levels - 1}")


def height_and_width(image_size: Iterable[int]) -> tuple[int, int]:
    """Both sides of an image, as they are given in options.

    Raises:
        ValueError: if they are not two whole numbers from 1.
    """
    sizes = list(image_size)
    if len(sizes) != 2 or not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise ValueError(f"image_size={sizes} must be [height, width], both at least 1")
    return sizes[0], sizes[1]


def rescale(images: Tensor, num_levels: int) -> Tensor:
    """Levels 0 … num_levels−1 as floats in [-1, 1], for training and sampling alike.

    Args:
        images: levels, any shape, any dtype.
        num_levels: how many levels there are, at least 2.

    Returns:
        Floats of the default dtype (float64 stays float64), the same shape, on the same device.
    """
    x = images.to(images.dtype if images.is_floating_point() else torch.get_default_dtype())
    return x * (2 / (num_levels - 1)) - 1


def to_bytes(images: Tensor, num_levels: int) -> Tensor:
    """Levels 0 … num_levels−1 spread over 0 … 255, as uint8 for a picture file."""
    return (images.float() * (255 / (num_levels - 1))).round().to(torch.uint8)


def image_grid(images: Tensor, num_levels: int, *, num_columns: int, padding: int = 2) -> Tensor:
    """Images side by side, row by row, as one picture.

    Args:
        images: levels (N, C, H, W); N need not fill the last row. Neither grey nor RGB, the
            colours of an image are drawn in grey beside each other.
        num_levels: how many levels there are.
        num_columns: images per row of the picture.
        padding: grey pixels around every image.

    Returns:
        uint8 picture (height, width, 3) with 256 levels.
    """
    if images.shape[1] not in (1, 3):
        images = rearrange(images, "n c h w -> n 1 h (c w)")
    tiles = to_bytes(images, num_levels).expand(-1, 3, -1, -1)
    missing = -len(tiles) % num_columns
    tiles = F.pad(tiles, (padding, padding, padding, padding, 0, 0, 0, missing), value=128)
    return rearrange(tiles, "(r c) k h w -> (r h) (c w) k", c=num_columns)


def enlarge(picture: Tensor, width: int) -> Tensor:
    """Repeat the pixels of a small picture (height, width, 3) up to about ``width`` of them."""
    factor = max(1, width // picture.shape[1])
    return picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
