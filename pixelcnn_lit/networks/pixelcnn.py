"""PixelCNN.

Source: van den Oord, Kalchbrenner and Kavukcuoglu (2016a), Pixel Recurrent Neural Networks, §3.4
and table 1. Its masked kernels leave a blind spot to the right above every pixel.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from pixelcnn_lit.layers import (
    CausalConv2d,
    Condition,
    ImageConv2d,
    Output,
    Pointwise,
    Walk,
    color_groups,
    color_mask,
    kernel_mask,
)
from pixelcnn_lit.networks.base import (
    AbstractNetwork,
    check_kernel_size,
    check_positive,
    check_room,
)

ActivationName = Literal["relu", "prelu"]


class PixelCNN(AbstractNetwork):
    """A masked convolution of the image, residual blocks, and 1×1 layers.

    Only the rows of a kernel that its mask leaves open are computed.

    Example:
        >>> import torch
        >>> network = PixelCNN(3, 12, num_layers=1, num_filters=6, num_hidden=8)
        >>> network(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 12, 5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        num_params: int,
        *,
        orders_channels: bool = True,
        cond_channels: int = 0,
        num_layers: int = 15,
        num_filters: int = 128,
        bottleneck: bool = True,
        first_kernel_size: int = 7,
        kernel_size: int = 3,
        num_hidden: int = 1024,
        activation: ActivationName = "relu",
    ) -> None:
        """Build the layers.

        Args:
            in_channels: colours, C.
            num_params: parameters per pixel, as the likelihood says.
            orders_channels: let a colour's parameters see the pixel's earlier colours.
            cond_channels: size of the condition, 0 for none.
            num_layers: residual blocks.
            num_filters: h. The stream is 2h wide around bottleneck blocks, h around plain ones.
            bottleneck: blocks of 1×1, k×k, 1×1 convolutions (the paper's) or of one k×k.
            first_kernel_size: of the convolution of the image, odd.
            kernel_size: k of the blocks, odd.
            num_hidden: units of the two 1×1 layers before the output.
            activation: "relu" or "prelu".

        Raises:
            ValueError: naming the argument, if one is out of range.
        """
        super().__init__(
            in_channels, num_params, orders_channels=orders_channels, cond_channels=cond_channels
        )
        check_positive(num_layers=num_layers, num_filters=num_filters, num_hidden=num_hidden)
        check_kernel_size("first_kernel_size", first_kernel_size)
        check_kernel_size("kernel_size", kernel_size)
        width = 2 * num_filters if bottleneck else num_filters
        colors = self.colors
        check_room(colors, num_filters=num_filters, num_hidden=num_hidden)
        groups = color_groups(width, colors)
        rows, columns = _half_kernel(first_kernel_size)
        center = color_mask("A", color_groups(in_channels, colors), groups)
        mask = kernel_mask(rows, columns, center)
        self.input = ImageConv2d(in_channels, width, rows, columns, mask=mask)
        self.blocks = nn.ModuleList(
            Block(num_filters, colors, cond_channels, kernel_size, bottleneck, activation)
            for _ in range(num_layers)
        )
        hidden = color_groups(num_hidden, colors)
        self.hidden = nn.ModuleList(
            [
                Pointwise(width, num_hidden, mask=color_mask("B", groups, hidden)),
                Pointwise(num_hidden, num_hidden, mask=color_mask("B", hidden, hidden)),
            ]
        )
        self.activations = nn.ModuleList(make_activation(activation) for _ in range(3))
        outputs = color_groups(num_params, colors)
        self.output = Output(num_hidden, num_params, mask=color_mask("B", hidden, outputs))

    def vertical(
        self, x: Tensor, conds: list[Tensor | None], walk: Walk | None = None
    ) -> list[list[Tensor]]:
        """Nothing: there is one stack only."""
        return [[]]

    def horizontal(
        self,
        x: Tensor,
        features: list[list[Tensor]],
        conds: list[Tensor | None],
        walk: Walk | None = None,
    ) -> Tensor:
        """The whole network."""
        stream = self.input(x, walk)
        for block in self.blocks:
            stream = block(stream, conds[0], walk)
        before_first, before_second, before_output = self.activations
        stream = self.hidden[0](before_first(stream), walk)
        stream = self.hidden[1](before_second(stream), walk)
        return self.output(before_output(stream), walk)


class Block(nn.Module):
    """x plus masked convolutions of it; the condition adds a bias to every feature map."""

    def __init__(
        self,
        num_filters: int,
        colors: int,
        cond_channels: int,
        kernel_size: int,
        bottleneck: bool,
        activation: ActivationName,
    ) -> None:
        super().__init__()
        inner = color_groups(num_filters, colors)
        rows, columns = _half_kernel(kernel_size)
        mask = kernel_mask(rows, columns, color_mask("B", inner, inner))
        self.conv = CausalConv2d(num_filters, num_filters, rows, columns, mask=mask)
        self.condition = Condition(cond_channels, num_filters) if cond_channels else None
        self.before_conv = make_activation(activation)
        self.narrow: nn.Sequential | None = None
        self.widen: nn.Sequential | None = None
        if bottleneck:
            outer = color_groups(2 * num_filters, colors)
            self.narrow = nn.Sequential(
                make_activation(activation),
                Pointwise(2 * num_filters, num_filters, mask=color_mask("B", outer, inner)),
            )
            self.widen = nn.Sequential(
                make_activation(activation),
                Pointwise(num_filters, 2 * num_filters, mask=color_mask("B", inner, outer)),
            )

    def forward(self, x: Tensor, cond: Tensor | None, walk: Walk | None = None) -> Tensor:
        """(B, F, H, W) to the same; on a walk (N, F) to the same."""
        hidden = _run(self.narrow, x, walk) if self.narrow else x
        hidden = self.conv(self.before_conv(hidden), walk)
        if self.condition is not None:
            assert cond is not None
            hidden = hidden + self.condition(cond, walk)
        return x + (_run(self.widen, hidden, walk) if self.widen else hidden)


def _run(pair: nn.Sequential, x: Tensor, walk: Walk | None) -> Tensor:
    activation, conv = pair
    return conv(activation(x), walk)


def _half_kernel(kernel_size: int) -> tuple[range, range]:
    """The rows of a k×k kernel that are not below the pixel, and all its columns."""
    side = kernel_size // 2
    return range(-side, 1), range(-side, side + 1)


def make_activation(name: ActivationName) -> nn.Module:
    """The activation of that name.

    Raises:
        ValueError: if there is none.
    """
    match name:
        case "relu":
            return nn.ReLU()
        case "prelu":
            return nn.PReLU()
    raise ValueError(f"activation={name!r}: allowed are relu, prelu")
