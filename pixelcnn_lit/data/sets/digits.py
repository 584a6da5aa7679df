"""The handwritten digits that come with scikit-learn: real data that need no network.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998): 1,797
images of 8×8 pixels, each pixel the number (0 … 16) of ink dots in a 4×4 block, so 17 levels; 10
classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

NUM_LEVELS = 17
CLASS_NAMES = tuple(str(digit) for digit in range(10))

_SPLIT_SEED = 0  # of the split, never of the run: results of different runs stay comparable
_NUM_VAL = _NUM_TEST = 180


def digits(
    split: Literal["train", "val", "test"],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of a split.

    Args:
        split: "train" (1,437 images), "val" or "test" (180 each); always the same ones.

    Returns:
        Levels 0 … 16 of shape (N, 1, 8, 8), and the digits (N,).
    """
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(pixels))
    bounds = {
        "test": slice(0, _NUM_TEST),
        "val": slice(_NUM_TEST, _NUM_TEST + _NUM_VAL),
        "train": slice(_NUM_TEST + _NUM_VAL, None),
    }
    chosen = order[bounds[split]]
    images = np.asarray(pixels)[chosen].reshape(-1, 1, 8, 8).astype(np.uint8)
    return images, np.asarray(labels)[chosen].astype(np.int64)
