r"""Images from a known causal process, whose entropy and probabilities can be computed exactly.

Every value copies an earlier value, or is drawn afresh: with weights a and b (a + b ≤ 1),

    p(x | past) = a·[x = hidden] + b·[x = visible] + (1 − a − b)/L,

where "hidden" and "visible" are the values at two fixed offsets from the pixel. A parent outside
the image gives its weight to the uniform draw. A model's bits/dim can be compared with the truth,
and a network that cannot see one of the two parents cannot reach it.

The default hidden offset, one row up and four columns to the right, lies in the blind spot of a
plain PixelCNN: a path through its layers that climbs one row does so in a single layer, and there
a k×k kernel reaches k//2 columns to the right; all other layers on the path stay in their row and
cannot move right. So with kernels up to 7×7, however many layers, the row above is visible up to
column j + 3 only (and the row i−d up to j + d + 2 for one 7×7 layer followed by 3×3 layers).

The entropy: whether two parents agree decides the entropy of a value, so all that is needed is the
probability that two values agree. Values choose whom to copy independently of everything before,
hence P(x_d = x_q) = a·P(x_hidden(d) = x_q) + b·P(x_visible(d) = x_q) + (1−a−b)/L for q < d: one
pass in raster order computes it for all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelcnn_lit.data.abstract import AbstractImageDataModule, check_one_of
from pixelcnn_lit.data.examples import ArrayExamples
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.messages import OptionError, check_at_least


class CausalField:
    """The process on images of one size.

    Args:
        image_size: [H, W].
        channels: colours. The visible parent of every colour but the first is the colour before it
            in the same pixel; the hidden parent is the same colour of another pixel.
        num_levels: L.
        hidden_offset: (rows, columns) from a pixel to its hidden parent, earlier in raster order.
        hidden_weight: a.
        visible_offset: (rows, columns) to the visible parent.
        visible_weight: b.

    Raises:
        OptionError: if an offset points to the future, or a weight is out of range.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        channels: int = 1,
        num_levels: int = 4,
        *,
        hidden_offset: Sequence[int] = (-1, 4),
        hidden_weight: float = 0.6,
        visible_offset: Sequence[int] = (0, -1),
        visible_weight: float = 0.25,
    ) -> None:
        offsets = {"hidden_offset": hidden_offset, "visible_offset": visible_offset}
        for option, offset in offsets.items():
            if len(offset) != 2 or tuple(offset) >= (0, 0):
                raise OptionError(
                    f"{option}={list(offset)} must be [rows, columns] and point up, or left in the "
                    "same row"
                )
        if min(hidden_weight, visible_weight) < 0 or hidden_weight + visible_weight > 1:
            raise OptionError(
                f"hidden_weight={hidden_weight} and visible_weight={visible_weight} must not be "
                "negative, nor exceed 1 together"
            )
        self.channels = channels
        self.num_levels = num_levels
        self.image_size = (image_size[0], image_size[1])
        hidden = self._parents(hidden_offset)
        visible = self._parents(visible_offset)
        if channels > 1:
            dims = np.arange(len(visible))
            visible = np.where(dims % channels > 0, dims - 1, visible)
        self._copies = ((hidden_weight, hidden), (visible_weight, visible))
        # The weight of the uniform draw, which takes over from missing parents; (dims,).
        self._fresh = 1 - hidden_weight * (hidden >= 0) - visible_weight * (visible >= 0)

    @property
    def num_dims(self) -> int:
        """Values per image, C·H·W."""
        return self.channels * self.image_size[0] * self.image_size[1]

    @cached_property
    def true_bits_per_dim(self) -> float:
        """Entropy per value in bits: no model's expected bits/dim is lower."""
        return float(self._entropies().mean() / np.log(2))

    def log_prob(self, images: Tensor) -> Tensor:
        """Exact log-probability of each image.

        Args:
            images: levels (B, C, H, W).

        Returns:
            Nats, float64 (B,).
        """
        values = images.permute(0, 2, 3, 1).flatten(1).long()  # (B, dims) in raster order
        probs = torch.from_numpy(self._fresh / self.num_levels).expand(values.shape).clone()
        for weight, parents in self._copies:
            copied = values == values[:, torch.from_numpy(np.maximum(parents, 0))]
            probs += weight * (copied & torch.from_numpy(parents >= 0))
        return probs.log().sum(1)

    def sample(self, num_images: int, seed: int) -> NDArray[np.uint8]:
        """Images drawn from the process.

        Args:
            num_images: how many.
            seed: not negative; the same seed draws the same images.

        Returns:
            Levels (num_images, C, H, W).
        """
        generator = np.random.default_rng(seed)
        values = np.empty((self.num_dims, num_images), np.uint8)
        choices = generator.random((self.num_dims, num_images))
        (hidden_weight, all_hidden), (visible_weight, all_visible) = self._copies
        for d, (hidden, visible) in enumerate(zip(all_hidden, all_visible, strict=True)):
            values[d] = generator.integers(self.num_levels, size=num_images)
            if hidden >= 0:
                values[d] = np.where(choices[d] < hidden_weight, values[hidden], values[d])
            if visible >= 0:
                copied = choices[d] >= 1 - visible_weight
                values[d] = np.where(copied, values[visible], values[d])
        images = values.T.reshape(num_images, *self.image_size, self.channels)
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def _parents(self, offset: Sequence[int]) -> NDArray[np.int64]:
        """Place in raster order of each value's parent, −1 where it lies outside; (dims,)."""
        height, width = self.image_size
        i, j, c = np.indices((height, width, self.channels)).reshape(3, -1)
        i, j = i + offset[0], j + offset[1]
        inside = (i >= 0) & (j >= 0) & (j < width)
        return np.where(inside, (i * width + j) * self.channels + c, -1)

    def _entropies(self) -> NDArray[np.float64]:
        """Entropy of each value given its past, in nats; (dims,)."""
        (_, hidden), (_, visible) = self._copies
        agree = np.where((hidden >= 0) & (visible >= 0), self._agreement()[hidden, visible], 0)
        uniform = self._fresh / self.num_levels  # every level has so much, those of parents more
        first, second = (weight * (parents >= 0) for weight, parents in self._copies)
        on_two = _surprise(uniform + first) + _surprise(uniform + second)
        on_one = _surprise(uniform + (first + second))
        apart = (self.num_levels - 2) * _surprise(uniform) + on_two
        together = (self.num_levels - 1) * _surprise(uniform) + on_one
        return agree * together + (1 - agree) * apart

    def _agreement(self) -> NDArray[np.float64]:
        """P(value d = value q) for all pairs; (dims, dims) float64: half a gigabyte at 8192."""
        table = np.eye(self.num_dims)
        for d in range(self.num_dims):
            row = np.full(d, self._fresh[d] / self.num_levels)
            for weight, parents in self._copies:
                if parents[d] >= 0:
                    row += weight * table[parents[d], :d]
            table[d, :d] = table[:d, d] = row
        return table


def _surprise(prob: NDArray[np.float64]) -> NDArray[np.float64]:
    """−p ln p, which is 0 at 0."""
    return -prob * np.log(np.where(prob > 0, prob, 1))


class CausalFieldDataModule(AbstractImageDataModule):
    """Images of a process whose entropy is known, so that a model can be compared with the truth.

    Args:
        channels: colours of every image.
        num_levels: levels per colour, 2 … 256.
        image_size: [H, W].
        num_classes: None; there are no labels.
        embedding_dim: None; there are no embeddings.
        hidden_offset: (rows, columns) to a parent that a plain PixelCNN cannot see.
        hidden_weight: probability of copying it.
        visible_offset: (rows, columns) to a parent that every network sees.
        visible_weight: probability of copying it.
        num_train: training images.
        num_val: validation images.
        num_test: test images.
        field_seed: decides which images are drawn.
        batch_size: images per step of all processes together.
        seed: decides the order.

    Raises:
        OptionError: for a value out of range.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        num_levels: int = 4,
        image_size: Sequence[int] = (12, 12),
        num_classes: None = None,
        embedding_dim: None = None,
        hidden_offset: Sequence[int] = (-1, 4),
        hidden_weight: float = 0.6,
        visible_offset: Sequence[int] = (0, -1),
        visible_weight: float = 0.25,
        num_train: int = 10_000,
        num_val: int = 1_000,
        num_test: int = 1_000,
        field_seed: int = 0,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        facts = (channels, num_levels, image_size, num_classes, embedding_dim)
        super().__init__(*facts, batch_size, seed)
        check_at_least("field_seed", field_seed, 0)
        check_one_of("num_classes", num_classes, (None,))
        check_one_of("embedding_dim", embedding_dim, (None,))
        self._sizes: dict[Split, int] = {"train": num_train, "val": num_val, "test": num_test}
        for split, size in self._sizes.items():
            check_at_least(f"num_{split}", size, 1)
        self.field = CausalField(
            self.image_size,
            channels,
            num_levels,
            hidden_offset=hidden_offset,
            hidden_weight=hidden_weight,
            visible_offset=visible_offset,
            visible_weight=visible_weight,
        )
        self._field_seed = field_seed

    def _open(self, split: Split) -> ArrayExamples:
        seed = 3 * self._field_seed + list(self._sizes).index(split)
        return ArrayExamples({"image": self.field.sample(self._sizes[split], seed)})
