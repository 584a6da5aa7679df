"""What to draw: plain images, completions, or the way from one condition to another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from pixelcnn_lit.data.class_names import class_number
from pixelcnn_lit.images import Batch
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import AbstractLitModel, LitPixelCNNAutoencoder
from pixelcnn_lit.networks.conditions import LabelCondition, mix

Examples = Callable[[int], Batch]
"""The first so many examples: images, and labels or embeddings where there are any."""


@dataclass(frozen=True)
class Plan:
    """Rounds of N images each, one round if they form a grid, else one per column of the picture.

    Attributes:
        num_images: N.
        conds: the condition of each round, for N images.
        num_columns: of the picture.
        same_noise: every round starts from the same random numbers.
        beside: columns in front of the drawn ones, uint8 levels (N, C, H, W) each.
        images: uint8 levels (N, C, H, W) to complete.
        given: bool (H, W), what is kept of them.
    """

    num_images: int
    conds: list[Tensor | None]
    num_columns: int
    same_noise: bool = False
    beside: list[Tensor] = field(default_factory=list)
    images: Tensor | None = None
    given: Tensor | None = None


def plain(
    model: AbstractLitModel,
    num_images: int,
    labels: list[str | int] | None,
    examples: Examples,
) -> Plan:
    """Images for labels dealt in turn, or for the embeddings or codes of the examples."""
    cond = _plain_cond(model, num_images, labels, examples)
    num_columns = math.ceil(math.sqrt(num_images))
    if isinstance(model.condition, LabelCondition):  # every column shows one class
        num_labels = len(label_numbers(model, labels))
        num_columns = num_labels * max(1, round(num_columns / num_labels))
    return Plan(num_images, [cond], min(num_images, num_columns))


def completion(
    model: AbstractLitModel,
    num_images: int,
    labels: list[str | int] | None,
    examples: Examples,
    given: Tensor,
    num_completions: int,
) -> Plan:
    """Original | masked | completions, a row for each of the first examples."""
    found = examples(num_images)
    images = found["image"]
    # a chequered pattern, which neither the images nor the gaps between them have
    chequered = torch.arange(given.shape[-2])[:, None] + torch.arange(given.shape[-1])
    shares = torch.where(chequered % 2 > 0, 0.75, 0.25)
    hidden = (shares * (model.likelihood.num_levels - 1)).round().to(torch.uint8)
    cond = _completion_cond(model, found, labels)
    return Plan(
        len(images),
        [cond] * num_completions,
        2 + num_completions,
        beside=[images, images.where(given, hidden)],
        images=images,
        given=given,
    )


def interpolation(
    model: AbstractLitModel,
    num_images: int,
    ends: list[str | int],
    examples: Examples,
    num_steps: int,
) -> Plan:
    """A row per seed, along which only the condition changes, from one end to the other."""
    first, second = _ends(model, ends, examples)
    conds = mix(first.expand(num_images, -1), second.expand(num_images, -1), num_steps)
    return Plan(num_images, list(conds), num_steps, same_noise=True)


def label_numbers(
    model: AbstractLitModel, labels: list[str | int] | None, option: str = "labels"
) -> list[int]:
    """Names or numbers of classes as numbers; None for all.

    Raises:
        OptionError: for a class that the model does not have, with the nearest names.
    """
    num_classes = model.condition.cond_channels
    if labels is None:
        return list(range(num_classes))
    if not labels:
        raise OptionError(f"labels=[]: at least one, or null for all {num_classes} classes")
    names = model.class_names
    return [class_number(option, label, names, num_classes, "this model") for label in labels]


def _plain_cond(
    model: AbstractLitModel, num_images: int, labels: list[str | int] | None, examples: Examples
) -> Tensor | None:
    """What the model is asked with, one for each image."""
    _check_labels_are_known(model, labels)
    if isinstance(model.condition, LabelCondition):
        return _dealt(torch.tensor(label_numbers(model, labels)), num_images)
    if not model.condition.cond_channels:
        return None
    return _dealt(_read_off(model, examples(num_images)), num_images)


def _completion_cond(
    model: AbstractLitModel, found: Batch, labels: list[str | int] | None
) -> Tensor | None:
    """The labels asked for, or what belongs to the images themselves."""
    _check_labels_are_known(model, labels)
    if labels is not None:
        return _dealt(torch.tensor(label_numbers(model, labels)), len(found["image"]))
    if isinstance(model.condition, LabelCondition):
        if "label" not in found and not model.condition.label_dropout:
            raise OptionError("labels: must be given, the pictures of images=… have none")
        return found.get("label")
    return _read_off(model, found) if model.condition.cond_channels else None


def _ends(
    model: AbstractLitModel, ends: list[str | int], examples: Examples
) -> tuple[Tensor, Tensor]:
    """The two conditions to go between, (1, D) each."""
    if len(ends) != 2:
        raise OptionError(f"interpolate={ends}: two classes, or the numbers of two images")
    if isinstance(model.condition, LabelCondition):
        numbers = torch.tensor(label_numbers(model, ends, "interpolate"))
        first, second = F.one_hot(numbers, model.condition.cond_channels).float().split(1)
        return first, second
    if not model.condition.cond_channels:
        raise OptionError(f"interpolate={ends}: this model is unconditional")
    numbers = [number for number in ends if isinstance(number, int) and number >= 0]
    if len(numbers) != 2:
        raise OptionError(f"interpolate={ends}: this model takes the numbers of two images, from 0")
    conds = _read_off(model, examples(max(numbers) + 1))
    if len(conds) <= max(numbers):
        raise OptionError(f"interpolate={ends}: there are only {len(conds)} images")
    if conds.ndim != 2:
        raise OptionError(f"interpolate={ends}: only vectors can be mixed, these are maps")
    first, second = conds[numbers].split(1)
    return first, second


def _read_off(model: AbstractLitModel, found: Batch) -> Tensor:
    """The codes or the embeddings of examples, (N, D) or (N, D, H, W)."""
    if isinstance(model, LitPixelCNNAutoencoder):
        return model.encode(found["image"])
    if "embedding" not in found:
        raise OptionError("images: pictures have no embeddings, which this model needs; leave null")
    return found["embedding"]


def _dealt(conds: Tensor, num_images: int) -> Tensor:
    """In turn, until every image has one."""
    return conds[torch.arange(num_images) % len(conds)]


def _check_labels_are_known(model: AbstractLitModel, labels: list[str | int] | None) -> None:
    if labels is not None and not isinstance(model.condition, LabelCondition):
        raise OptionError(f"labels={labels}: this model was trained without labels")
