"""Training, validation and test images drawn from a causal field."""

from __future__ import annotations

from collections.abc import Sequence

from pixelcnn_lit.data.abstract import AbstractImageDataModule, check_at_least
from pixelcnn_lit.data.examples import ArrayExamples
from pixelcnn_lit.data.sets.causal_field import CausalField
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.messages import OptionError


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
        super().__init__(
            channels=channels,
            num_levels=num_levels,
            image_size=image_size,
            num_classes=num_classes,
            embedding_dim=embedding_dim,
            batch_size=batch_size,
            seed=seed,
            binarize=None,
            flip=False,
        )
        check_at_least("field_seed", field_seed, 0)
        if num_classes is not None or embedding_dim is not None:
            raise OptionError(
                f"num_classes={num_classes} and embedding_dim={embedding_dim} must be null: a "
                "causal field has neither labels nor embeddings"
            )
        check_at_least("num_train", num_train, 1)
        check_at_least("num_val", num_val, 1)
        check_at_least("num_test", num_test, 1)
        self.field = CausalField(
            self.image_size,
            channels,
            num_levels,
            hidden_offset=hidden_offset,
            hidden_weight=hidden_weight,
            visible_offset=visible_offset,
            visible_weight=visible_weight,
        )
        self._draws: dict[Split, tuple[int, int]] = {
            "train": (num_train, 3 * field_seed),
            "val": (num_val, 3 * field_seed + 1),
            "test": (num_test, 3 * field_seed + 2),
        }

    @property
    def true_bits_per_dim(self) -> float:
        """Entropy of the process in bits per value."""
        return self.field.true_bits_per_dim

    def _open(self, split: Split) -> ArrayExamples:
        return ArrayExamples(self.field.sample(*self._draws[split]))
