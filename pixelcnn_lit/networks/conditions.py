"""Conditions of a network: from a label, an embedding or an image to floats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AbstractCondition(nn.Module, ABC):
    """Turns what a batch or a user gives into the ``cond`` of a network.

    Args:
        cond_channels: size D of the cond; 0 for none.
        label_dropout: share of the training images that are shown without their condition.

    Attributes:
        batch_key: the entry of the batch it is made from, None for none.
        reads_images: whether it is made from the images themselves where none is given.
    """

    batch_key: ClassVar[str | None] = None
    reads_images: ClassVar[bool] = False

    def __init__(self, cond_channels: int, label_dropout: float = 0.0) -> None:
        super().__init__()
        self.cond_channels = cond_channels
        self.label_dropout = label_dropout

    @abstractmethod
    def check(self, value: Tensor | None, num_images: int) -> None:
        """Refuse what :meth:`forward` cannot take; reads the values, so not for training steps.

        Raises:
            ValueError: naming the values and what is allowed.
        """

    @abstractmethod
    def forward(self, value: Tensor | None, x: Tensor | None = None) -> Tensor | None:
        """The cond, (B, D) or (B, D, H, W), or None.

        Args:
            value: what was given.
            x: the images it belongs to, (B, C, H, W) in [-1, 1], where there are any.
        """


class NoCondition(AbstractCondition):
    """Nothing."""

    def __init__(self) -> None:
        super().__init__(0)

    def check(self, value: Tensor | None, num_images: int) -> None:
        """Anything given is refused."""
        if value is not None:
            raise ValueError("cond: this model is unconditional and takes none")

    def forward(self, value: Tensor | None, x: Tensor | None = None) -> None:
        """None."""
        return


class AbstractGivenCondition(AbstractCondition):
    """What comes with every image.

    In training a share ``label_dropout`` of the images loses it, so that the model also learns the
    images without one, which guided sampling needs (Ho and Salimans 2022, §3.2).
    """

    def forward(self, value: Tensor | None, x: Tensor | None = None) -> Tensor | None:
        """What is given as floats, None if nothing is."""
        if value is None:
            return None
        cond = self._floats(value).to(torch.get_default_dtype())
        return drop_rows(cond, self.label_dropout) if self.training else cond

    @abstractmethod
    def _floats(self, value: Tensor) -> Tensor:
        """(B, D) or (B, D, H, W), of any dtype."""


class LabelCondition(AbstractGivenCondition):
    """One-hot class labels (B,); (B, num_classes) floats pass, so that classes can be mixed."""

    batch_key = "label"

    def check(self, value: Tensor | None, num_images: int) -> None:
        """Labels are whole numbers below num_classes, one per image."""
        num_classes = self.cond_channels
        if value is None:
            if not self.label_dropout:
                raise ValueError(
                    "cond: this model was trained with labels only (label_dropout=0): give one "
                    f"per image, 0 … {num_classes - 1}"
                )
        elif value.is_floating_point():
            _check_floats(value, num_images, num_classes, maps=False)
        elif value.shape != (num_images,):
            raise ValueError(f"cond: {tuple(value.shape)} labels for {num_images} images")
        elif wrong := sorted({v for v in value.tolist() if not 0 <= v < num_classes}):
            raise ValueError(f"cond: labels {wrong}: allowed are 0 … {num_classes - 1}")

    def _floats(self, value: Tensor) -> Tensor:
        return value if value.is_floating_point() else F.one_hot(value.long(), self.cond_channels)


class EmbeddingCondition(AbstractGivenCondition):
    """An embedding that comes with the data: a vector (B, D), or a map (B, D, H, W)."""

    batch_key = "embedding"

    def check(self, value: Tensor | None, num_images: int) -> None:
        """One embedding per image."""
        if value is not None:
            _check_floats(value, num_images, self.cond_channels, maps=True)
        elif not self.label_dropout:
            raise ValueError(
                f"cond: this model needs an embedding per image, of size {self.cond_channels}"
            )

    def _floats(self, value: Tensor) -> Tensor:
        return value


class CodeCondition(AbstractCondition):
    """The code an encoder makes of the image itself.

    Attributes:
        encoder: images as floats (B, in_channels, H, W) to codes (B, latent_dim); set by the model.
    """

    encoder: nn.Module
    reads_images = True

    def check(self, value: Tensor | None, num_images: int) -> None:
        """One code per image."""
        if value is None:
            raise ValueError(
                f"cond: this model decodes codes of size {self.cond_channels}: give "
                "model.encode(images), or codes of your own"
            )
        _check_floats(value, num_images, self.cond_channels, maps=False)

    def forward(self, value: Tensor | None, x: Tensor | None = None) -> Tensor | None:
        """(B, latent_dim): as given, or of the images."""
        return self.encoder(x) if value is None else value


def make_condition(
    num_classes: int | None, embedding_dim: int | None, label_dropout: float
) -> AbstractCondition:
    """Condition on the class label, on the data's embedding, or on nothing.

    Raises:
        ValueError: if both are asked for, or an argument is out of range.
    """
    if num_classes is not None and embedding_dim is not None:
        raise ValueError(
            f"num_classes={num_classes} and embedding_dim={embedding_dim}: condition on one, set "
            "the other to null"
        )
    if not 0 <= label_dropout < 1:
        raise ValueError(f"label_dropout={label_dropout}: in [0, 1)")
    for name, value in [("num_classes", num_classes), ("embedding_dim", embedding_dim)]:
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: at least 1, or null for none")
    if label_dropout and num_classes is None and embedding_dim is None:
        raise ValueError(f"label_dropout={label_dropout}: needs num_classes or embedding_dim")
    if num_classes is not None:
        return LabelCondition(num_classes, label_dropout)
    if embedding_dim is not None:
        return EmbeddingCondition(embedding_dim, label_dropout)
    return NoCondition()


def drop_rows(cond: Tensor, share: float) -> Tensor:
    """Zero the cond of a random share of the images; zeros stand for no condition."""
    if not share:
        return cond
    kept = torch.rand(len(cond), device=cond.device) >= share
    return cond * kept.view(-1, *[1] * (cond.ndim - 1))


def mix(first: Tensor, second: Tensor, num_steps: int) -> Tensor:
    """Interpolate between two conds, both ends included.

    Args:
        first: (B, D), for instance one-hot labels or codes, or a map (B, D, H, W).
        second: the same shape.
        num_steps: at least 2.

    Returns:
        (num_steps, B, D) or (num_steps, B, D, H, W).

    Raises:
        ValueError: if the shapes differ or there are too few steps.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"second of shape {tuple(second.shape)}: that of first is {tuple(first.shape)}"
        )
    if num_steps < 2:
        raise ValueError(f"num_steps={num_steps}: at least 2, the two ends")
    shares = torch.linspace(0, 1, num_steps).to(first).view(-1, *[1] * first.ndim)
    return torch.lerp(first, second, shares)


def _check_floats(value: Tensor, num_images: int, size: int, *, maps: bool) -> None:
    shape = tuple(value.shape)
    if shape[:2] != (num_images, size) or not (value.ndim == 2 or (maps and value.ndim == 4)):
        allowed = f"({num_images}, {size})" + (f" or ({num_images}, {size}, H, W)" if maps else "")
        raise ValueError(f"cond of shape {shape}: allowed is {allowed}")
    if not value.isfinite().all():
        raise ValueError("cond: holds values that are not finite")
