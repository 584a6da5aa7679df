"""Log-probabilities as nats/dim and bits/dim, exact over uneven batches and uneven processes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchmetrics import Metric


def nats_per_dim(log_prob: Tensor, num_dims: Tensor | int) -> Tensor:
    """−log_prob / num_dims: what one colour value of one pixel costs.

    Args:
        log_prob: nats, any shape.
        num_dims: how many dimensions, C·H·W, each of them stands for.
    """
    return -log_prob / num_dims


def bits_per_dim(log_prob: Tensor, num_dims: Tensor | int) -> Tensor:
    """−log_prob / (num_dims · ln 2): the unit in which image models are compared.

    Args:
        log_prob: nats, any shape.
        num_dims: how many dimensions, C·H·W, each of them stands for.
    """
    return nats_per_dim(log_prob, num_dims) / math.log(2)


class AbstractPerDim(Metric):
    """Sums of nats and of dimensions over all images of all processes.

    A mean of batch means would overweight the images of a short last batch; sums do not. They
    are float64 and int64: float32 stops counting at 2^24. (Apple's MPS lacks float64: keep the
    metric on the CPU there.) Nothing in ``update`` waits for the device.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False

    log_prob: Tensor
    num_dims: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("log_prob", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_dims", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, log_prob: Tensor, num_dims: int) -> None:
        """Count a batch in.

        Args:
            log_prob: nats per image, (B,).
            num_dims: dimensions per image, C·H·W.
        """
        self.log_prob += log_prob.detach().double().sum()
        self.num_dims += num_dims * log_prob.numel()


class BitsPerDim(AbstractPerDim):
    """−log_prob/(C·H·W·ln 2), averaged over dimensions: float64 scalar."""

    def compute(self) -> Tensor:
        """bits/dim so far; NaN before the first image."""
        return bits_per_dim(self.log_prob, self.num_dims)


class NatsPerDim(AbstractPerDim):
    """−log_prob/(C·H·W), averaged over dimensions: float64 scalar."""

    def compute(self) -> Tensor:
        """nats/dim so far; NaN before the first image."""
        return nats_per_dim(self.log_prob, self.num_dims)


def per_dim_metrics() -> nn.ModuleDict:
    """Both by the name under which they are logged."""
    return nn.ModuleDict({"bits_per_dim": BitsPerDim(), "nats_per_dim": NatsPerDim()})
