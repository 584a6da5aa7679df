"""Weight normalisation with data-dependent initialisation.

Source: Salimans and Kingma (2016), Weight Normalization, §2 and §3; V ~ N(0, 0.05) and, from one
batch, a scale and a bias that give every layer outputs of mean 0 and a chosen deviation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from pixelcnn_lit.layers import fused
from pixelcnn_lit.layers.causal import AbstractConv2d
from pixelcnn_lit.layers.resample import Upsample
from pixelcnn_lit.networks.base import AbstractNetwork, evaluating

LEAST_DEVIATION = 1e-3
"""A channel that varies less over the first batch, as one that sees only padding does, keeps its
scale: its noise, brought to the wanted deviation, would explode with the first other image."""


def normed_layers(network: nn.Module) -> list[AbstractConv2d | Upsample]:
    """The convolutions of a network, those that carry a norm and a bias."""
    kinds = (AbstractConv2d, Upsample)
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


class WeightNorm(nn.Module):
    """w = g·v/‖v‖ per output channel, channels last: the norm does not ask for another layout.

    Args:
        axis: of the output channels, 0, or 1 in a transposed convolution.
    """

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, norm: Tensor, direction: Tensor) -> Tensor:
        """(1 but for the output channels) and (out, in, rows, columns) to the latter."""
        lines, axis = direction.movedim(1, -1), 3 * self.axis
        weight = torch._weight_norm(lines, norm.movedim(1, -1), axis)  # type: ignore[reportPrivateImportUsage]
        return weight.movedim(-1, 1)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The norm and the weight itself as the direction."""
        return torch.norm_except_dim(weight, 2, self.axis), weight


def normalise_weights(network: nn.Module) -> None:
    """Give every convolution a norm per output channel (axis 1 of a transposed one)."""
    for layer in normed_layers(network):
        norm = WeightNorm(axis=1 if isinstance(layer, Upsample) else 0)
        register_parametrization(layer, "weight", norm, unsafe=True)


@torch.no_grad()
def initialise(network: AbstractNetwork, x: Tensor, cond: Tensor | None = None) -> None:
    """Data-dependent initialisation: one forward pass in which every layer rescales its output.

    Args:
        network: any network of :mod:`pixelcnn_lit.networks`, on the device of ``x``.
        x: a batch of images (B, C, H, W) in [-1, 1].
        cond: as the network takes it.
    """

    def rescale(layer: AbstractConv2d | Upsample, _: object, output: Tensor) -> Tensor:
        mean = output.mean((0, 2, 3))
        deviation = output.std((0, 2, 3), correction=0)
        varies = deviation > LEAST_DEVIATION
        scale = torch.where(varies, layer.init_deviation / deviation, 1.0)
        shape = (1, -1, 1, 1) if isinstance(layer, Upsample) else (-1, 1, 1, 1)
        if hasattr(layer, "parametrizations"):
            layer.parametrizations.weight.original0.mul_(scale.view(shape))  # type: ignore[union-attr]
        else:
            layer.weight.mul_(scale.view(shape))
        layer.bias.copy_((layer.bias - mean) * scale)
        return (output - mean[:, None, None]) * scale[:, None, None]

    hooks = [layer.register_forward_hook(rescale) for layer in normed_layers(network)]
    try:
        # compiled blocks would not run the hooks, and what is fused has no sum of skips to rescale
        with evaluating(network), fused.disabled(), network.uncompiled():
            network(x, cond)
    finally:
        for hook in hooks:
            hook.remove()
