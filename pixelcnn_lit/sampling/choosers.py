"""Choosers: what to put at a position, given the distribution of its pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from pixelcnn_lit.likelihoods import AbstractPixels
from pixelcnn_lit.sampling.walk import Chooser


def draw(uniforms: Tensor) -> Chooser:
    """Draw each pixel from its distribution.

    Args:
        uniforms: (B, H, W, num_uniforms or more) in [0, 1); the same numbers give the same images.
    """

    def choose(pixels: AbstractPixels, row: int, column: int) -> Tensor:
        return pixels.quantile(uniforms[:, row, column, : pixels.num_uniforms])

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
