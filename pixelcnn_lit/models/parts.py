"""The parts of a model by name: likelihood, condition, optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pixelcnn_lit.likelihoods import (
    AbstractLikelihood,
    Bernoulli,
    ChannelLogisticMixture,
    LogisticMixture,
    Softmax,
)
from pixelcnn_lit.networks.conditions import (
    AbstractCondition,
    EmbeddingCondition,
    LabelCondition,
    NoCondition,
)

LikelihoodName = Literal["bernoulli", "softmax", "logistic_mixture", "channel_logistic_mixture"]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


def optimization(
    parameters: Iterable[nn.Parameter],
    make_optimizer: OptimizerFactory | None,
    make_scheduler: SchedulerFactory | None,
) -> OptimizerLRScheduler:
    """The optimizer, Adam at 1e-3 if none is given, and the scheduler at every step.

    Raises:
        ValueError: naming which of them cannot be built, and why.
    """
    try:
        optimizer = make_optimizer(parameters) if make_optimizer else Adam(parameters, lr=1e-3)
    except (ValueError, TypeError) as error:
        raise ValueError(f"model.optimizer: {error}") from error
    if make_scheduler is None:
        return optimizer
    try:
        scheduler = make_scheduler(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(f"model.scheduler: {error}") from error
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
    }


def make_likelihood(
    name: LikelihoodName, channels: int, num_levels: int, num_logistic_mix: int
) -> AbstractLikelihood:
    """The likelihood of that name.

    Raises:
        ValueError: if there is none, or it cannot hold ``num_levels``.
    """
    match name:
        case "bernoulli":
            if num_levels != 2:
                raise ValueError(f"likelihood=bernoulli: needs num_levels=2, not {num_levels}")
            return Bernoulli(channels)
        case "softmax":
            return Softmax(channels, num_levels)
        case "logistic_mixture":
            return LogisticMixture(channels, num_levels, num_logistic_mix)
        case "channel_logistic_mixture":
            return ChannelLogisticMixture(channels, num_levels, num_logistic_mix)
    allowed = "bernoulli, softmax, logistic_mixture, channel_logistic_mixture"
    raise ValueError(f"likelihood={name!r}: allowed are {allowed}")


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
