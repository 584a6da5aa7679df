"""Coloured MNIST: digits as inverted regions of random photograph crops, 2 bits per colour.

The recipe: a digit is scaled to 64×64 and binarised at one half; a random 64×64 crop of a
photograph has its colours inverted where the digit is; the result is reduced to 28×28 by area and
each colour quantised. The photographs are the two that come with scikit-learn.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from pixelcnn_lit.data.randomness import uniforms

_LARGE = 64  # side of the crops and of the scaled digits
_SIDE = 28


def colored_digits(
    digits: NDArray[np.uint8], indices: NDArray[np.int64], seed: int, num_levels: int
) -> NDArray[np.uint8]:
    """Grey digits as coloured ones.

    Args:
        digits: bytes (N, 1, 28, 28).
        indices: identity of each digit, (N,); with ``seed`` it decides photograph and crop.
        seed: another one gives other backgrounds.
        num_levels: levels per colour of the result.

    Returns:
        Levels (N, 3, 28, 28).
    """
    choices = uniforms("colour", seed, 0, indices, 3)
    return np.stack(
        [
            _colored(digit[0], choice, num_levels)
            for digit, choice in zip(digits, choices, strict=True)
        ]
    )


@cache
def _photographs() -> tuple[NDArray[np.uint8], ...]:
    """Two photographs, (427, 640, 3)."""
    return tuple(np.asarray(image, np.uint8) for image in load_sample_images().images)


def _colored(
    digit: NDArray[np.uint8], choice: NDArray[np.float32], num_levels: int
) -> NDArray[np.uint8]:
    """One digit (28, 28) on the crop that three numbers in [0, 1) choose; levels (3, 28, 28)."""
    photographs = _photographs()
    photograph = photographs[int(choice[0] * len(photographs))]
    top = int(choice[1] * (photograph.shape[0] - _LARGE + 1))
    left = int(choice[2] * (photograph.shape[1] - _LARGE + 1))
    crop = photograph[top : top + _LARGE, left : left + _LARGE]
    large = Image.fromarray(digit).resize((_LARGE, _LARGE), Image.Resampling.BILINEAR)
    inside = np.asarray(large)[..., None] > 127  # a byte above one half
    picture = Image.fromarray(np.where(inside, 255 - crop, crop))
    small = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.uint16)
    return (small * num_levels // 256).astype(np.uint8).transpose(2, 0, 1)
