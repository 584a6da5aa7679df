"""The variants over which every law runs: a newcomer joins by one line in VARIANTS."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from pixelcnn_lit.images import level_dtype
from pixelcnn_lit.models import (
    AbstractLitModel,
    LitGatedPixelCNN,
    LitPixelCNN,
    LitPixelCNNAutoencoder,
    LitPixelCNNPP,
)
from pixelcnn_lit.networks.weight_norm import initialise

Options = dict[str, int | float | str | bool | list[int] | None]

CONDITIONINGS: dict[str, Options] = {
    "none": {},
    "label": {"num_classes": 3},
    "vector": {"embedding_dim": 4},
    "map": {"embedding_dim": 4},
}
LIKELIHOODS = ("softmax", "bernoulli", "logistic_mixture", "channel_logistic_mixture")


@dataclass(frozen=True)
class Variant:
    """A model class with options of its network that make it tiny, and others that let it see far.

    ``conditionings`` are those it takes; "code" stands for an autoencoder's, which always has one.
    """

    name: str
    model: type[AbstractLitModel]
    tiny: Options
    deep: Options = field(default_factory=dict)
    conditionings: tuple[str, ...] = tuple(CONDITIONINGS)
    blind_spot: bool = False


PIXELCNN: Options = {"num_layers": 2, "num_filters": 6, "num_hidden": 8}
PLAIN: Options = {"num_layers": 2, "num_filters": 7, "num_hidden": 6, "bottleneck": False}
GATED: Options = {"num_layers": 3, "num_filters": 7, "num_hidden": 9}
PP: Options = {"num_resnet": 1, "num_hierarchies": 2, "num_filters": 6}
CODE: Options = {"latent_dim": 4, "num_encoder_filters": 3}
FAR: Options = {"num_layers": 15, "num_filters": 3, "num_hidden": 3}

VARIANTS = [
    Variant("pixelcnn", LitPixelCNN, PIXELCNN, FAR, blind_spot=True),
    Variant(
        "pixelcnn_plain",
        LitPixelCNN,
        PLAIN | {"kernel_size": 5, "activation": "prelu"},
        FAR | {"kernel_size": 3},
        blind_spot=True,
    ),
    Variant("gated", LitGatedPixelCNN, GATED, FAR),
    Variant("pp", LitPixelCNNPP, PP, {"num_resnet": 3, "num_hierarchies": 3, "num_filters": 3}),
    Variant("autoencoder", LitPixelCNNAutoencoder, GATED | CODE, FAR, conditionings=("code",)),
]


def nested(options: dict[str, object]) -> dict[str, object]:
    """Arguments of a model from options of its own and of its network; None leaves one out."""
    classes = (LitPixelCNN, LitPixelCNNAutoencoder)
    own = {name for made in classes for name in inspect.signature(made).parameters}
    given = {name: value for name, value in options.items() if value is not None}
    network = {name: value for name, value in given.items() if name not in own}
    return {name: v for name, v in given.items() if name in own} | {"network": network}


@dataclass(frozen=True)
class Case:
    """A variant under a likelihood, with a number of colours and a conditioning."""

    variant: Variant
    likelihood: str
    channels: int
    conditioning: str

    def __str__(self) -> str:
        return f"{self.variant.name}-{self.likelihood}-{self.channels}-{self.conditioning}"

    def build(
        self, image_size: tuple[int, int], num_levels: int | None = None, **more: object
    ) -> AbstractLitModel:
        """In evaluation mode, with weights under which every feature varies."""
        torch.manual_seed(0)
        mixture = {"num_logistic_mix": 2} if "mixture" in self.likelihood else {}
        options = self.variant.tiny | CONDITIONINGS.get(self.conditioning, {}) | more
        model = self.variant.model(
            channels=self.channels,
            num_levels=num_levels or (2 if self.likelihood == "bernoulli" else 4),
            image_size=list(image_size),
            likelihood={"name": self.likelihood, **mixture},
            **nested(options),
        ).eval()
        enliven(model)
        return model

    def cond(self, model: AbstractLitModel, num_images: int) -> Tensor | None:
        """What the model is asked with, the same at every call."""
        size = model.condition.cond_channels
        generator = torch.Generator().manual_seed(1)
        match self.conditioning:
            case "none":
                return None
            case "label":
                return torch.arange(num_images) % size
            case "map":
                return torch.randn(num_images, size, *model.image_size, generator=generator)
        return torch.randn(num_images, size, generator=generator)


def cases(
    *,
    likelihoods: Iterable[str] = LIKELIHOODS,
    channels: Iterable[int] = (1, 3),
    conditionings: Iterable[str] = tuple(CONDITIONINGS),
) -> list[Case]:
    """All combinations; a variant that must be conditioned takes its own in the place of all."""
    return [
        Case(variant, likelihood, colors, conditioning)
        for variant, likelihood, colors in product(VARIANTS, likelihoods, channels)
        for conditioning in variant.conditionings
        if conditioning in conditionings or conditioning not in CONDITIONINGS
    ]


def enliven(model: AbstractLitModel) -> None:
    """Scale every layer to outputs of mean 0 and deviation 1, so that no feature is hidden."""
    x = torch.rand(4, model.likelihood.channels, 9, 9) * 2 - 1
    size = model.network.cond_channels
    initialise(model.network, x, torch.randn(4, size) if size else None)


def seeded(seed: int = 0) -> torch.Generator:
    """Random numbers of their own."""
    return torch.Generator().manual_seed(seed)


def random_images(model: AbstractLitModel, num_images: int) -> Tensor:
    """Levels (num_images, C, H, W)."""
    shape, num_levels = (num_images, *model.image_shape), model.likelihood.num_levels
    return torch.randint(num_levels, shape, dtype=level_dtype(num_levels))


def network_inputs(
    model: AbstractLitModel, images: Tensor, cond: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """What the network makes its parameters from."""
    x = model.input(images)
    return x, model.condition(cond, x)


OPTIONS: list[tuple[str, Options]] = [
    ("pp", {"receptive_field_dims": [4, 5], "num_hierarchies": 3, "weight_norm": False}),
    ("pp", {"resnet_activation": "elu", "num_resnet": 2, "dropout": 0.0}),
    ("pp", {"resnet_activation": "relu", "num_hierarchies": 1}),
    ("gated", {"first_kernel_size": 5, "kernel_size": 5}),
    ("gated", {"first_kernel_size": 3, "num_layers": 1}),
    ("pixelcnn", {"first_kernel_size": 3, "kernel_size": 7, "activation": "prelu"}),
    ("autoencoder", PP | {"name": "pp", "num_layers": None, "num_hidden": None}),
    ("autoencoder", {"name": "pixelcnn", "bottleneck": False}),
]
"""Options beyond each variant's tiny ones, by the name of the variant."""


def case_of(name: str) -> Case:
    """The variant of that name, its network ordering three colours."""
    [variant] = [variant for variant in VARIANTS if variant.name == name]
    return Case(variant, "softmax", 3, variant.conditionings[0])
