"""What the benchmark of training compares: models, those of the textbook, and a step of each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from textbook import Textbook, textbook_of
from torch import Tensor

from pixelcnn_lit.models import (
    AbstractLitModel,
    LitGatedPixelCNN,
    LitPixelCNN,
    LitPixelCNNAutoencoder,
    LitPixelCNNPP,
)

SEED = 0
OURS, PLAIN, COMPILED = "ours", "textbook", "compiled"


@dataclass(frozen=True)
class Case:
    """A model and how many images it sees at a time."""

    name: str
    build: Callable[[], AbstractLitModel]
    batch_size: int = 16
    only_cuda: bool = False


@dataclass(frozen=True)
class Contender:
    """A model that takes turns with others, and its optimizer."""

    model: AbstractLitModel | Textbook
    optimizer: torch.optim.Optimizer


GREY = {"channels": 1, "num_levels": 256, "image_size": [28, 28]}
FIVE_LOGISTICS = {"name": "logistic_mixture", "num_logistic_mix": 5}
STACK = {"network": {"num_layers": 5, "num_filters": 64, "num_hidden": 128}}
SMALL_PP = {"num_resnet": 1, "num_hierarchies": 2, "num_filters": 32, "dropout": 0.25}

CASES = {
    "pp": Case(
        "PixelCNN++ 2/64/5",
        lambda: LitPixelCNNPP(
            **GREY, network={"num_resnet": 2, "num_filters": 64}, likelihood=FIVE_LOGISTICS
        ),
    ),
    "digits": Case(
        "PixelCNN++ 1/32/5",
        lambda: LitPixelCNNPP(
            channels=1, num_levels=17, image_size=[8, 8], network=SMALL_PP,
            likelihood=FIVE_LOGISTICS,
        ),
        batch_size=64,
    ),
    "gated": Case("Gated PixelCNN 5/64", lambda: LitGatedPixelCNN(**GREY, **STACK)),
    "pixelcnn": Case("PixelCNN 5/64", lambda: LitPixelCNN(**GREY, **STACK)),
    "autoencoder": Case(
        "PixelCNN autoencoder 5/64",
        lambda: LitPixelCNNAutoencoder(**GREY, **STACK, latent_dim=10),
    ),
    "cifar10": Case(
        "PixelCNN++ 5/160/10",
        lambda: LitPixelCNNPP(channels=3, num_levels=256, image_size=[32, 32]),
        only_cuda=True,
    ),
}  # fmt: skip
"""By the name that ``--cases`` takes."""


def prepare(case: Case, device: torch.device) -> tuple[dict[str, Contender], Tensor]:
    """Both models with the same random weights, and images (B, C, H, W): any cost the same."""
    torch.manual_seed(SEED)
    model = case.build().to(device)
    optimizer = model.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    plain = textbook_of(model)
    contenders = {
        OURS: Contender(model, optimizer),
        PLAIN: Contender(plain, torch.optim.Adam(plain.parameters(), lr=1e-3)),
    }
    num_levels = model.likelihood.num_levels
    shape = (case.batch_size, *model.image_shape)
    return contenders, torch.randint(num_levels, shape, dtype=torch.uint8, device=device)


def add_compiled(contenders: dict[str, Contender]) -> None:
    """Our model with its network compiled, as a contender of its own."""
    model = copy.deepcopy(contenders[OURS].model)
    model.network.compile_blocks()
    optimizer = model.configure_optimizers()  # type: ignore[union-attr]
    contenders[COMPILED] = Contender(model, optimizer)  # type: ignore[arg-type]


def train_step(contender: Contender, images: Tensor) -> None:
    """A step of training, nats per image as the loss."""
    contender.model.train()
    contender.optimizer.zero_grad()
    loss = -contender.model.log_prob(images).mean()
    loss.backward()
    contender.optimizer.step()


@torch.no_grad()
def evaluate(contender: Contender, images: Tensor) -> None:
    """The log-probabilities alone."""
    contender.model.eval()
    contender.model.log_prob(images)


Work = Callable[[Contender, Tensor], None]
"""A step or an evaluation."""
