"""Counter-based random numbers: they depend on (seed, epoch, example) and on nothing else.

An example drawn by another process, another worker or after a resume gets the same numbers,
because they come from a hash of its identity and not from a generator that somebody has advanced.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Purpose = Literal["binarize", "flip", "split", "colour"]

_PURPOSES: dict[Purpose, int] = {"binarize": 1, "flip": 2, "split": 3, "colour": 4}
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: the step of SplitMix64


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood, 2014), a bijection."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def uniforms(
    purpose: Purpose, seed: int, epoch: int, indices: NDArray[np.int64], num: int
) -> NDArray[np.float32]:
    """Uniform numbers in [0, 1) for each example.

    Args:
        purpose: what they are for; different purposes are independent.
        seed: of the run.
        epoch: 0 for what never changes.
        indices: identity of each example, shape (B,).
        num: how many per example.

    Returns:
        Shape (B, num), multiples of 2^-24.
    """
    key = np.zeros(1, np.uint64)
    for part in (_PURPOSES[purpose], seed, epoch):
        key = _mix((key ^ np.uint64(part % 2**63)) + _GOLDEN)
    starts = _mix(_mix(indices.astype(np.uint64) + _GOLDEN) ^ key)
    steps = np.arange(1, num + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(starts[:, None] + steps)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def epoch_order(num: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of 0 … num−1, (num,): a new one for every seed and epoch, both from 0 on."""
    return np.random.default_rng([seed, epoch]).permutation(num)
