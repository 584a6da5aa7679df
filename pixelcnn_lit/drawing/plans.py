"""Plans of a drawing: plain images, completions, and the way from one condition to another.

The classes are the tasks of `sample`, their arguments its options below ``task``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pixelcnn_lit.data.class_names import class_number
from pixelcnn_lit.drawing.given_mask import read_given
from pixelcnn_lit.drawing.rounds import Rounds
from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import OptionError, check_at_least
from pixelcnn_lit.models import AbstractLitModel, LitPixelCNNAutoencoder
from pixelcnn_lit.networks.conditions import LabelCondition, mix

Examples = Callable[[int], Batch]
"""The first so many examples: images, and labels or embeddings where there are any."""
Labels = list[str | int] | str | int | None
"""Classes by name or number, one or several; None for all."""


class AbstractPlan(ABC):
    """What to draw."""

    @abstractmethod
    def rounds(self, model: AbstractLitModel, examples: Examples) -> Rounds:
        """The plan for one model.

        Args:
            model: what it is conditioned on decides which options mean something.
            examples: called only where there must be images to draw from.

        Raises:
            OptionError: naming the option that does not fit the model or the images.
        """


@dataclass(frozen=True)
class Plain(AbstractPlan):
    """Images for labels, or for the embeddings or codes of images; of a code beside its image.

    Args:
        num_images: how many.
        labels: classes by name or number, dealt in turn; None for all.
    """

    num_images: int = 64
    labels: Labels = None

    def __post_init__(self) -> None:
        check_at_least("task.num_images", self.num_images, 1)

    def rounds(self, model: AbstractLitModel, examples: Examples) -> Rounds:
        """One round, a grid about as wide as high."""
        num_images, numbers = self.num_images, label_numbers(model, self.labels)
        num_columns = math.ceil(math.sqrt(num_images))
        cond, originals = None, []
        if numbers:
            cond = _dealt(torch.tensor(numbers), num_images)
            # every column shows one class
            num_columns = len(numbers) * max(1, round(num_columns / len(numbers)))
        elif _takes_images(model):
            found = examples(num_images)
            cond = _dealt(_read_off(model, found), num_images)
            if model.condition.reads_images:
                originals = [_dealt(found["image"], num_images)]
                num_columns = math.ceil(num_columns / math.sqrt(2))  # pairs are twice as wide
        return Rounds(num_images, [cond], abreast=min(num_images, num_columns), before=originals)


@dataclass(frozen=True)
class Complete(AbstractPlan):
    """Original, masked and completions, a row for each of the first images.

    Args:
        given: the pixels that are kept: top:N, bottom:N, left:N, right:N,
            box:TOP:LEFT:HEIGHT:WIDTH, or a file .png (bright pixels) or .npy (true ones).
        num_images: rows of the picture.
        num_completions: of each image.
        labels: classes by name or number, dealt in turn; None for the images' own.
    """

    given: str
    num_images: int = 8
    num_completions: int = 4
    labels: Labels = None

    def __post_init__(self) -> None:
        check_at_least("task.num_images", self.num_images, 1)
        check_at_least("task.num_completions", self.num_completions, 1)

    def rounds(self, model: AbstractLitModel, examples: Examples) -> Rounds:
        """A round for every completion."""
        given = read_given(self.given, model.image_size)
        if given.all():
            raise OptionError(
                f"task.given={self.given}: keeps every pixel, nothing is left to draw"
            )
        numbers = [] if self.labels is None else label_numbers(model, self.labels)
        found = examples(self.num_images)
        images = found["image"]
        cond = _dealt(torch.tensor(numbers), len(images)) if numbers else _own_cond(model, found)
        # a chequered pattern, which neither the images nor the gaps between them have
        chequered = torch.arange(given.shape[-2])[:, None] + torch.arange(given.shape[-1])
        shares = torch.where(chequered % 2 > 0, 0.75, 0.25)
        hidden = (shares * (model.likelihood.num_levels - 1)).round().to(images.dtype)
        return Rounds(
            len(images),
            [cond] * self.num_completions,
            images=images,
            given=given,
            before=[images, images.where(given, hidden)],
        )


@dataclass(frozen=True)
class Interpolate(AbstractPlan):
    """Rows along which only the condition changes, from one end to the other.

    Between the codes of two images the images themselves stand at both ends.

    Args:
        ends: two classes by name or number, or the numbers of two images, whose codes or
            embeddings are taken.
        num_images: rows of the picture, each from random numbers of its own.
        steps: from one end to the other, both included.
    """

    ends: list[str | int]
    num_images: int = 4
    steps: int = 8

    def __post_init__(self) -> None:
        check_at_least("task.num_images", self.num_images, 1)
        check_at_least("task.steps", self.steps, 2)
        if len(self.ends) != 2:
            raise OptionError(f"task.ends={self.ends}: two classes, or the numbers of two images")

    def rounds(self, model: AbstractLitModel, examples: Examples) -> Rounds:
        """A round for every step, all from the same random numbers."""
        before, after = [], []
        if isinstance(model.condition, LabelCondition):
            numbers = torch.tensor(label_numbers(model, self.ends, "task.ends"))
            ends = F.one_hot(numbers, model.condition.cond_channels).float()
        elif _takes_images(model):
            found = self._examples_at_ends(examples)
            ends = _read_off(model, found)
            if ends.ndim != 2:
                raise OptionError(f"task.ends={self.ends}: only vectors can be mixed, not maps")
            if model.condition.reads_images:
                before, after = (
                    [end.expand(self.num_images, -1, -1, -1)] for end in found["image"]
                )
        else:
            raise OptionError(f"task.ends={self.ends}: this model is unconditional")
        first, second = (end.expand(self.num_images, -1) for end in ends)
        conds = mix(first, second, self.steps)
        return Rounds(self.num_images, list(conds), same_noise=True, before=before, after=after)

    def _examples_at_ends(self, examples: Examples) -> Batch:
        """Two examples, by their numbers."""
        numbers = [number for number in self.ends if isinstance(number, int) and number >= 0]
        if len(numbers) != 2:
            raise OptionError(
                f"task.ends={self.ends}: this model takes the numbers of two images, from 0"
            )
        found = examples(max(numbers) + 1)
        if len(found["image"]) <= max(numbers):
            raise OptionError(f"task.ends={self.ends}: there are only {len(found['image'])} images")
        return {name: values[numbers] for name, values in found.items()}


def label_numbers(
    model: AbstractLitModel, labels: Labels, option: str = "task.labels"
) -> list[int]:
    """Names or numbers of classes as numbers, all for None; no numbers where there are no classes.

    Raises:
        OptionError: for a class that the model does not have, with the nearest names.
    """
    if not isinstance(model.condition, LabelCondition):
        if labels is not None:
            raise OptionError(f"{option}={labels}: this model was trained without labels")
        return []
    num_classes = model.condition.cond_channels
    if labels is None:
        return list(range(num_classes))
    if labels == []:
        raise OptionError(f"{option}=[]: at least one, or null for all {num_classes} classes")
    listed = [labels] if isinstance(labels, str | int) else labels
    names = model.class_names
    return [class_number(option, label, names, num_classes, "this model") for label in listed]


def _takes_images(model: AbstractLitModel) -> bool:
    """Whether its condition is read off images, or comes with them."""
    return model.condition.reads_images or model.condition.batch_key == "embedding"


def _own_cond(model: AbstractLitModel, found: Batch) -> Tensor | None:
    """What belongs to the images themselves."""
    if _takes_images(model):
        return _read_off(model, found)
    if not isinstance(model.condition, LabelCondition):
        return None
    if "label" not in found and not model.condition.label_dropout:
        raise OptionError("task.labels: must be given, as pictures of a folder have none")
    return found.get("label")


def _read_off(model: AbstractLitModel, found: Batch) -> Tensor:
    """The codes or the embeddings of examples, (N, D) or (N, D, H, W)."""
    if isinstance(model, LitPixelCNNAutoencoder):
        return model.encode(found["image"])
    if "embedding" not in found:
        raise OptionError(
            "images: pictures have no embeddings, which this model needs; leave it null"
        )
    return found["embedding"]


def _dealt(values: Tensor, num_images: int) -> Tensor:
    """In turn, until every image has one."""
    return values[torch.arange(num_images) % len(values)]
