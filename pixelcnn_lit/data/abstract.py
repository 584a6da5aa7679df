"""The abstract data module: shards, batches and resumes what its splits hold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

import lightning as L
import torch

from pixelcnn_lit.data.augmentation import Augmentation
from pixelcnn_lit.data.examples import AbstractExamples
from pixelcnn_lit.data.loader import EvaluationLoader, TrainingLoader
from pixelcnn_lit.data.sharding import Shard, evaluation_sizes, training_sizes
from pixelcnn_lit.data.tables.decoding import Binarize
from pixelcnn_lit.data.tables.source import Split
from pixelcnn_lit.images import FACTS, Batch, height_and_width
from pixelcnn_lit.messages import OptionError, check_at_least

_STAGES: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    None: ("train", "val", "test"),
}


class AbstractImageDataModule(L.LightningDataModule):
    """Batches of image levels for any number of processes, in an order that survives a resume.

    A batch is a dict: ``image`` uint8 (B, C, H, W) with levels 0 … num_levels−1, ``label`` int64
    (B,) where the data have labels, ``embedding`` float32 (B, D) or (B, D, H, W) where asked for.

    Args:
        channels: colours of every image.
        num_levels: levels per colour, 2 … 256.
        image_size: [H, W].
        num_classes: number of classes, or None where labels play no role.
        embedding_dim: D, or None for no embedding.
        batch_size: images per step of all processes together.
        seed: decides order, flips and dynamic binarisation.
        binarize: "static", "dynamic" or None.
        flip: mirror half of the training images.

    Raises:
        OptionError: for a value out of range.
    """

    def __init__(
        self,
        channels: int,
        num_levels: int,
        image_size: Sequence[int],
        num_classes: int | None,
        embedding_dim: int | None,
        batch_size: int,
        seed: int,
        binarize: Binarize | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__()
        if not 2 <= num_levels <= 256:
            raise OptionError(f"num_levels={num_levels} must lie in 2 … 256")
        check_at_least("channels", channels, 1)
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        check_one_of("binarize", binarize, (None, "static", "dynamic"))
        if binarize is not None and num_levels != 2:
            raise OptionError(f"binarize={binarize} makes 2 levels, but num_levels={num_levels}")
        self.channels = channels
        self.num_levels = num_levels
        self.image_size = list(height_and_width(image_size))
        self.num_classes = num_classes
        self.embedding_dim = embedding_dim
        self.batch_size = batch_size
        self.seed = seed
        self._augment = Augmentation(seed, binarize, flip)
        self._augment_still = Augmentation(0, binarize, flip=False)
        self._examples: dict[Split, AbstractExamples | None] = {}

    @abstractmethod
    def _open(self, split: Split) -> AbstractExamples | None:
        """The examples of a split, decoded and cached if need be; None if there are none."""

    @property
    def facts(self) -> dict[str, object]:
        """What its images are, by the names in :data:`~pixelcnn_lit.images.FACTS`."""
        return {name: getattr(self, name) for name in FACTS}

    @property
    def class_names(self) -> list[str] | None:
        """What the labels 0, 1, … stand for, where the data say so."""
        return None

    def prepare_data(self) -> None:
        """Download and decode once per node, before any process needs the result."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Open the splits that a stage needs and check that all processes can share a batch."""
        Shard.current(self.trainer).batch_size(self.batch_size)
        for split in _STAGES[stage]:
            self.examples(split)

    def train_dataloader(self) -> TrainingLoader:
        """Shuffled, the same number of batches on every rank."""
        shard, examples = Shard.current(self.trainer), self._required("train")
        sizes = training_sizes(len(examples), self.batch_size, shard)
        identity = {"seed": self.seed, "batch_size": self.batch_size, "num_examples": len(examples)}
        identity |= examples.order_depends_on(shard)
        batches = partial(examples.training_batches, shard, self.batch_size, self._augment)
        return TrainingLoader(batches, len(sizes), identity, lambda: self.trainer)

    def val_dataloader(self) -> EvaluationLoader | list[EvaluationLoader]:
        """Every validation example once over all ranks; an empty list if there are none."""
        return self._evaluation_dataloader("val")

    def test_dataloader(self) -> EvaluationLoader | list[EvaluationLoader]:
        """Every test example once over all ranks; an empty list if there are none."""
        return self._evaluation_dataloader("test")

    def whole_split(self, split: Split) -> EvaluationLoader:
        """All examples of a split in this process, in a fixed order and as they are in evaluation.

        Raises:
            OptionError: if there are none.
        """
        return self._evaluation_loader(split, Shard())  # all of it, whatever RANK says

    def first_examples(self, split: Split, num_images: int) -> Batch:
        """The first examples of a split, fewer if it has fewer.

        Raises:
            OptionError: if there are none.
        """
        parts: list[Batch] = []
        for batch in self.whole_split(split):
            parts.append(batch)
            if sum(len(part["image"]) for part in parts) >= num_images:
                break
        return {name: torch.cat([part[name] for part in parts])[:num_images] for name in parts[0]}

    def first_batch(self) -> Batch:
        """The first batch of the first epoch of a single process, the same on every rank."""
        examples = self._required("train")
        return next(examples.training_batches(Shard(), self.batch_size, self._augment, 0, 0))

    def examples(self, split: Split) -> AbstractExamples | None:
        """The examples of a split, opened at the first call; None if there are none."""
        if split not in self._examples:
            self._examples[split] = self._open(split)
        return self._examples[split]

    def _evaluation_dataloader(self, split: Split) -> EvaluationLoader | list[EvaluationLoader]:
        if self.examples(split) is None:
            return []
        return self._evaluation_loader(split, Shard.current(self.trainer))

    def _evaluation_loader(self, split: Split, shard: Shard) -> EvaluationLoader:
        examples = self._required(split)
        sizes = evaluation_sizes(len(examples), self.batch_size, shard)
        batches = partial(examples.evaluation_batches, shard, self.batch_size, self._augment_still)
        return EvaluationLoader(batches, len(sizes))

    def _required(self, split: Split) -> AbstractExamples:
        examples = self.examples(split)
        if examples is None:
            raise OptionError(f"split={split}: this data set has no {split} images")
        return examples


def check_one_of(option: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse a value that is not allowed.

    Raises:
        OptionError: naming the option and what is allowed.
    """
    if value not in allowed:
        names = ", ".join("null" if choice is None else str(choice) for choice in allowed)
        raise OptionError(f"{option}={value} must be {'one of ' * (len(allowed) > 1)}{names}")
