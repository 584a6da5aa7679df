"""PixelCNN.

Source: van den Oord, Kalchbrenner and Kavukcuoglu (2016a), Pixel Recurrent Neural Networks, §3.4
and table 1. Its masked kernels leave a blind spot to the right above every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from pixelcnn_lit.layers import (
    CausalConv2d,
    Condition,
    ImageConv2d,
    Output,
    Pointwise,
    RasterCache,
    color_groups,
    color_mask,
    kernel_mask,
)
from pixelcnn_lit.networks.base import (
    AbstractBlock,
    AbstractNetwork,
    Conds,
    Features,
    check_kernel_sizes,
    check_sizes,
)

ActivationName = Literal["relu", "prelu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "prelu": nn.PReLU}


@dataclass(frozen=True)
class PixelCNNOptions:
    """The options of :class:`PixelCNN`; the defaults are the paper's for CIFAR-10.

    Args:
        num_layers: residual blocks.
        num_filters: h. The stream is 2h wide around bottleneck blocks, h around plain ones.
        bottleneck: blocks of 1×1, k×k, 1×1 convolutions (the paper's) or of one k×k.
        first_kernel_size: of the convolution of the image, odd.
        kernel_size: k of the blocks, odd.
        num_hidden: units of the two 1×1 layers before the output.
        activation: "relu" or "prelu".

    Raises:
        ValueError: naming the option, if one is out of range.
    """

    num_layers: int = 15
    num_filters: int = 128
    bottleneck: bool = True
    first_kernel_size: int = 7
    kernel_size: int = 3
    num_hidden: int = 1024
    activation: ActivationName = "relu"

    def __post_init__(self) -> None:
        """Refuse what fits no image."""
        check_sizes(self, "num_layers", "num_filters", "num_hidden")
        check_kernel_sizes(self, "first_kernel_size", "kernel_size")
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={self.activation!r}: allowed are {', '.join(ACTIVATIONS)}"
            )


class PixelCNN(AbstractNetwork[PixelCNNOptions]):
    """A masked convolution of the image, residual blocks, and 1×1 layers.

    Only the rows of a kernel that its mask leaves open are computed.

    Example:
        >>> import torch
        >>> options = PixelCNNOptions(num_layers=1, num_filters=6, num_hidden=8)
        >>> network = PixelCNN(options, in_channels=3, num_params=12)
        >>> network(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 12, 5, 7])
    """

    options_type = PixelCNNOptions

    def _build(self, options: PixelCNNOptions) -> None:
        in_channels, num_params, colors = self.in_channels, self.num_params, self.colors
        check_sizes(options, "num_filters", "num_hidden", least=colors)
        width = (2 if options.bottleneck else 1) * options.num_filters
        groups = color_groups(width, colors)
        rows, columns = _half_kernel(options.first_kernel_size)
        center = color_mask("A", color_groups(in_channels, colors), groups)
        mask = kernel_mask(rows, columns, center)
        self.input = ImageConv2d(in_channels, width, rows, columns, mask=mask)
        self.blocks = nn.ModuleList(
            Block(options, colors, self.cond_channels) for _ in range(options.num_layers)
        )
        num_hidden = options.num_hidden
        hidden = color_groups(num_hidden, colors)
        self.hidden = nn.ModuleList(
            [
                Pointwise(width, num_hidden, mask=color_mask("B", groups, hidden)),
                Pointwise(num_hidden, num_hidden, mask=color_mask("B", hidden, hidden)),
            ]
        )
        make_activation = ACTIVATIONS[options.activation]
        self.activations = nn.ModuleList(make_activation() for _ in range(3))
        outputs = color_groups(num_params, colors)
        self.output = Output(num_hidden, num_params, mask=color_mask("B", hidden, outputs))

    def vertical(self, x: Tensor, conds: Conds, cache: RasterCache | None = None) -> Features:
        """Nothing: there is one stack only."""
        return [[]]

    def horizontal(
        self, x: Tensor, features: Features, conds: Conds, cache: RasterCache | None = None
    ) -> Tensor:
        """The whole network."""
        stream = self.input(x, cache)
        for block in self.blocks:
            stream = block(stream, conds[0], cache)
        before_first, before_second, before_output = self.activations
        stream = self.hidden[0](before_first(stream), cache)
        stream = self.hidden[1](before_second(stream), cache)
        return self.output(before_output(stream), cache)


class Block(AbstractBlock):
    """x plus masked convolutions of it; the condition adds a bias to every feature map."""

    def __init__(self, options: PixelCNNOptions, colors: int, cond_channels: int) -> None:
        super().__init__()
        num_filters, make_activation = options.num_filters, ACTIVATIONS[options.activation]
        inner = color_groups(num_filters, colors)
        rows, columns = _half_kernel(options.kernel_size)
        mask = kernel_mask(rows, columns, color_mask("B", inner, inner))
        self.conv = CausalConv2d(num_filters, num_filters, rows, columns, mask=mask)
        self.condition = Condition(cond_channels, num_filters) if cond_channels else None
        self.before_conv = make_activation()
        self.narrow: nn.Sequential | None = None
        self.widen: nn.Sequential | None = None
        if options.bottleneck:
            outer = color_groups(2 * num_filters, colors)
            self.narrow = nn.Sequential(
                make_activation(),
                Pointwise(2 * num_filters, num_filters, mask=color_mask("B", outer, inner)),
            )
            self.widen = nn.Sequential(
                make_activation(),
                Pointwise(num_filters, 2 * num_filters, mask=color_mask("B", inner, outer)),
            )

    def forward(self, x: Tensor, cond: Tensor | None, cache: RasterCache | None = None) -> Tensor:
        """(B, F, H, W) to the same; on a walk (N, F) to the same."""
        hidden = _run(self.narrow, x, cache) if self.narrow else x
        hidden = self.conv(self.before_conv(hidden), cache)
        if self.condition is not None:
            assert cond is not None
            hidden = hidden + self.condition(cond, cache)
        return x + (_run(self.widen, hidden, cache) if self.widen else hidden)


def _run(pair: nn.Sequential, x: Tensor, cache: RasterCache | None) -> Tensor:
    activation, conv = pair
    return conv(activation(x), cache)


def _half_kernel(kernel_size: int) -> tuple[range, range]:
    """The rows of a k×k kernel that are not below the pixel, and all its columns."""
    side = kernel_size // 2
    return range(-side, 1), range(-side, side + 1)
