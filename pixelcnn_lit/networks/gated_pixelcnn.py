"""Gated PixelCNN.

Source: van den Oord et al. (2016b), Conditional Image Generation with PixelCNN Decoders, §2 and
figure 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers import (
    CausalConv2d,
    Condition,
    ImageConv2d,
    Output,
    Pointwise,
    RasterCache,
    color_groups,
    color_mask,
    fused,
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


@dataclass(frozen=True)
class GatedPixelCNNOptions:
    """The options of :class:`GatedPixelCNN`; the paper tells no sizes, these are PixelCNN's.

    Args:
        num_layers: gated layers, the first of which reads the image.
        num_filters: width of both stacks.
        first_kernel_size: n of the first layer, odd.
        kernel_size: n of the other layers, odd.
        num_hidden: units of the 1×1 layer before the output.

    Raises:
        ValueError: naming the option, if one is out of range.
    """

    num_layers: int = 15
    num_filters: int = 128
    first_kernel_size: int = 7
    kernel_size: int = 3
    num_hidden: int = 1024

    def __post_init__(self) -> None:
        """Refuse what fits no image."""
        check_sizes(self, "num_layers", "num_filters", "num_hidden")
        check_kernel_sizes(self, "first_kernel_size", "kernel_size")


class GatedPixelCNN(AbstractNetwork[GatedPixelCNNOptions]):
    """A vertical stack for the rows above and a horizontal one for the row so far.

    Together they see every pixel of the past: there is no blind spot. The vertical stack is
    shifted by a row exactly once, where it reads the image; so its features at a pixel speak of
    the rows above it and the horizontal stack reads them in place. (The paper shifts them on
    their way into the horizontal stack: the same but for the first row, which then sees zeros
    instead of the features of an empty image.)

    Example:
        >>> options = GatedPixelCNNOptions(num_layers=2, num_filters=6, num_hidden=8)
        >>> network = GatedPixelCNN(options, in_channels=3, num_params=12)
        >>> network(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 12, 5, 7])
    """

    options_type = GatedPixelCNNOptions

    def _build(self, options: GatedPixelCNNOptions) -> None:
        colors, num_filters, num_hidden = self.colors, options.num_filters, options.num_hidden
        num_params, cond_channels = self.num_params, self.cond_channels
        check_sizes(options, "num_filters", "num_hidden", least=colors)
        self.vertical_layers = nn.ModuleList()
        self.horizontal_layers = nn.ModuleList()
        for layer in range(options.num_layers):
            size = options.kernel_size if layer else options.first_kernel_size
            source = None if layer else self.in_channels
            self.vertical_layers.append(VerticalLayer(num_filters, size, cond_channels, source))
            self.horizontal_layers.append(
                HorizontalLayer(num_filters, size, cond_channels, colors, source)
            )
        groups = color_groups(num_filters, colors)
        hidden, outputs = color_groups(num_hidden, colors), color_groups(num_params, colors)
        self.hidden = Pointwise(num_filters, num_hidden, mask=color_mask("B", groups, hidden))
        self.output = Output(num_hidden, num_params, mask=color_mask("B", hidden, outputs))

    def vertical(self, x: Tensor, conds: Conds, cache: RasterCache | None = None) -> Features:
        """What each layer of the vertical stack tells its horizontal neighbour."""
        stream, links = x, []
        for layer in self.vertical_layers:
            stream, link = layer(stream, conds[0], cache)
            links.append(link)
        return [links]

    def horizontal(
        self, x: Tensor, features: Features, conds: Conds, cache: RasterCache | None = None
    ) -> Tensor:
        """The horizontal stack and two 1×1 layers."""
        stream = x
        for layer, link in zip(self.horizontal_layers, features[0], strict=True):
            stream = layer(stream, link, conds[0], cache)
        stream = self.hidden(F.relu(stream), cache)
        return self.output(F.relu(stream), cache)


class VerticalLayer(AbstractBlock):
    """n×n above and beside, the gate, and the link into the horizontal stack.

    ``source`` is ``in_channels`` if the layer reads the image, None if it reads features.
    The condition enters before the link, so that the last layer leaves no parameter unread.
    """

    def __init__(self, num_filters: int, size: int, cond_channels: int, source: int | None) -> None:
        super().__init__()
        side = size // 2
        columns = range(-side, side + 1)
        wide = 2 * num_filters
        self.conv = (
            CausalConv2d(num_filters, wide, range(-side, 1), columns)
            if source is None
            else ImageConv2d(source, wide, range(-side - 1, 0), columns)
        )
        self.condition = Condition(cond_channels, wide) if cond_channels else None
        self.link = Pointwise(wide, wide)

    def forward(
        self, x: Tensor, cond: Tensor | None, cache: RasterCache | None = None
    ) -> tuple[Tensor, Tensor]:
        """The stack's features (B, F, H, W) and the link (B, 2F, H, W); on a walk (N, …)."""
        wide = self.conv(x, cache)
        if self.condition is not None:
            assert cond is not None
            wide = wide + self.condition(cond, cache)
        return gate(wide, cache=cache), self.link(wide, cache)


class HorizontalLayer(AbstractBlock):
    """1×n to the left and the link, the gate, 1×1, and a residual connection but in layer 1."""

    def __init__(
        self,
        num_filters: int,
        size: int,
        cond_channels: int,
        colors: int,
        source: int | None,
    ) -> None:
        super().__init__()
        groups = color_groups(num_filters, colors)
        halves = groups.repeat(2)  # value and gate of a colour's features belong to that colour
        self.residual = source is None
        if source is None:
            columns = range(-(size // 2), 1)
            mask = kernel_mask(range(1), columns, color_mask("B", groups, halves))
            self.conv = CausalConv2d(num_filters, 2 * num_filters, range(1), columns, mask=mask)
        else:
            columns = range(-(size // 2), 1 if colors > 1 else 0)
            center = color_mask("A", color_groups(source, colors), halves)
            mask = kernel_mask(range(1), columns, center)
            self.conv = ImageConv2d(source, 2 * num_filters, range(1), columns, mask=mask)
        self.condition = Condition(cond_channels, 2 * num_filters) if cond_channels else None
        self.out = Pointwise(num_filters, num_filters, mask=color_mask("B", groups, groups))

    def forward(
        self, x: Tensor, link: Tensor, cond: Tensor | None, cache: RasterCache | None = None
    ) -> Tensor:
        """(B, F, H, W), or the image, to (B, F, H, W); on a walk to (N, F)."""
        wide = self.conv(x, cache)
        if self.condition is not None:
            assert cond is not None
            wide = wide + self.condition(cond, cache)
        stream = self.out(gate(wide, link, cache=cache), cache)
        return x + stream if self.residual else stream


def gate(*parts: Tensor, cache: RasterCache | None = None) -> Tensor:
    """Tanh of the first half times σ of the second (eq. 2), of a sum of one or two maps.

    Each (B, 2F, H, W) to (B, F, H, W); on a walk (N, 2F) to (N, F).
    """
    if cache is None and fused.serves(parts[0]):
        return fused.tanh_gate(*parts)
    value, opening = sum(parts[1:], parts[0]).chunk(2, 1)
    return torch.tanh(value) * torch.sigmoid(opening)
