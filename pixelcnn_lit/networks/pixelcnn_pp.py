"""PixelCNN++.

Source: Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++: Improving the PixelCNN with
Discretized Logistic Mixture Likelihood and Other Modifications. Argument names follow the
distribution of TensorFlow Probability.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers import (
    CausalConv2d,
    Condition,
    Downsample,
    ImageConv2d,
    Output,
    Pointwise,
    Upsample,
    Walk,
    activation,
    color_groups,
    color_mask,
)
from pixelcnn_lit.layers.activations import ResnetActivation
from pixelcnn_lit.networks.base import AbstractNetwork, check_positive, check_room
from pixelcnn_lit.networks.weight_norm import normalise_weights, normed_layers

SECOND_CONVOLUTION_DEVIATION = 0.1
"""What data-dependent initialisation gives the second convolution of a block: near identity."""


class PixelCNNPP(AbstractNetwork):
    """Two streams on several levels of resolution, joined by skip connections.

    The stream u sees the rows above, the stream ul also the row so far, so there is no blind
    spot. Any image size works: the image is padded below and to the right, which causality makes
    harmless, and the parameters are cropped back.

    With ``orders_channels`` and several colours a head of two masked 1×1 layers lets the
    parameters of a colour see the earlier colours of the pixel. (The paper has no such head: its
    likelihood couples the colours.)

    Example:
        >>> network = PixelCNNPP(1, 6, num_resnet=1, num_hierarchies=2, num_filters=8)
        >>> network(torch.zeros(2, 1, 5, 7)).shape
        torch.Size([2, 6, 5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        num_params: int,
        *,
        orders_channels: bool = False,
        cond_channels: int = 0,
        num_resnet: int = 5,
        num_hierarchies: int = 3,
        num_filters: int = 160,
        receptive_field_dims: Sequence[int] = (3, 3),
        dropout: float = 0.5,
        resnet_activation: ResnetActivation = "concat_elu",
        weight_norm: bool = True,
    ) -> None:
        """Build the streams.

        Args:
            in_channels: colours, C.
            num_params: parameters per pixel, as the likelihood says.
            orders_channels: let a colour's parameters see the pixel's earlier colours.
            cond_channels: size of the condition, 0 for none.
            num_resnet: gated residual blocks per level on the way down; one more on the way up.
            num_hierarchies: levels of resolution.
            num_filters: width of both streams.
            receptive_field_dims: rows (with the own one) and columns (odd) that the convolutions
                read around a pixel.
            dropout: in [0, 1), inside every block.
            resnet_activation: "concat_elu", "elu" or "relu".
            weight_norm: normalise the weights of every convolution.

        Raises:
            ValueError: naming the argument, if one is out of range.
        """
        super().__init__(
            in_channels,
            num_params,
            orders_channels=orders_channels,
            cond_channels=cond_channels,
            num_hierarchies=num_hierarchies,
        )
        rows, columns = receptive_field_dims
        _check(num_resnet, num_hierarchies, num_filters, rows, columns, dropout)
        check_room(self.colors, num_filters=num_filters)
        side = columns // 2
        above, around = range(-rows + 1, 0), range(-side, side + 1)
        image_channels = in_channels + 1  # a channel of ones marks the padding
        self.u_above = ImageConv2d(image_channels, num_filters, above, around)
        self.ul_above = ImageConv2d(image_channels, num_filters, range(-1, 0), around)
        self.ul_left = ImageConv2d(image_channels, num_filters, range(-1, 1), range(-side, 0))
        shape = (num_resnet, num_hierarchies, num_filters, cond_channels)
        style = (resnet_activation, dropout)
        self.u = Stream(*shape, *style, range(-rows + 2, 1), around, range(-1, 2), reads=0)
        self.ul = Stream(*shape, *style, range(-1, 1), range(-side, 1), range(-1, 1), reads=1)
        self.head = (
            ColorHead(num_filters, in_channels, num_params, resnet_activation)
            if self.colors > 1
            else Head(num_filters, num_params)
        )
        for layer in normed_layers(self):
            nn.init.normal_(layer.weight, std=0.05)
            nn.init.zeros_(layer.bias)
        if weight_norm:
            normalise_weights(self)

    def canvas(self, x: Tensor) -> Tensor:
        """The image with a channel of ones, padded to whole blocks of the coarsest level."""
        block = 2 ** (self.num_hierarchies - 1)
        marked = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        return F.pad(marked, (0, -x.shape[-1] % block, 0, -x.shape[-2] % block))

    def vertical(
        self, x: Tensor, conds: list[Tensor | None], walk: Walk | None = None
    ) -> list[list[Tensor]]:
        """The stream u, and what the stream ul starts from of the row above (level 0, last)."""
        features = self.u(self.u_above(x, walk), conds, None, walk)[1]
        features[0].append(self.ul_above(x, walk))
        return features

    def horizontal(
        self,
        x: Tensor,
        features: list[list[Tensor]],
        conds: list[Tensor | None],
        walk: Walk | None = None,
    ) -> Tensor:
        """The stream ul and the head."""
        start = features[0][-1] + self.ul_left(x, walk)
        return self.head(self.ul(start, conds, features, walk)[0], x, walk)


class Stream(nn.Module):
    """Residual blocks down to the coarsest level and up again, with skip connections across.

    ``reads`` is 1 for the stream ul, whose every block reads the feature of u of the same name,
    and 0 for u itself.
    """

    def __init__(
        self,
        num_resnet: int,
        num_hierarchies: int,
        num_filters: int,
        cond_channels: int,
        resnet_activation: ResnetActivation,
        dropout: float,
        rows: range,
        columns: range,
        stride_columns: range,
        *,
        reads: int,
    ) -> None:
        super().__init__()

        def block(num_skips: int) -> GatedResnet:
            skip_channels = num_skips * num_filters
            return GatedResnet(
                num_filters,
                skip_channels,
                cond_channels,
                resnet_activation,
                dropout,
                rows,
                columns,
            )

        coarsest = num_hierarchies - 1
        self.num_resnet = num_resnet
        self.encoder = nn.ModuleList(
            nn.ModuleList(block(reads) for _ in range(num_resnet)) for _ in range(num_hierarchies)
        )
        self.decoder = nn.ModuleList(
            nn.ModuleList(block(reads + 1) for _ in range(num_resnet + (level < coarsest)))
            for level in range(num_hierarchies)
        )
        upward = range(stride_columns.start, 2) if not reads else range(2)
        self.down = nn.ModuleList(
            Downsample(num_filters, num_filters, range(-1, 1), stride_columns)
            for _ in range(coarsest)
        )
        self.up = nn.ModuleList(
            Upsample(num_filters, num_filters, upward) for _ in range(coarsest)
        )

    def forward(
        self,
        x: Tensor,
        conds: list[Tensor | None],
        above: list[list[Tensor]] | None,
        walk: Walk | None = None,
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The stream's output on the finest level and the features of its blocks, per level.

        Args:
            x: what the stream starts from, (B, F, H, W), or (N, F) on a walk.
            conds: the condition for each level.
            above: the features of the stream u, or None if this is u.
            walk: where the walk stands, if there is one; sleeping levels give no features.
        """
        features: list[list[Tensor]] = [[] for _ in self.encoder]
        return self._level(0, x, conds, above, walk, features), features

    def _level(
        self,
        level: int,
        x: Tensor,
        conds: list[Tensor | None],
        above: list[list[Tensor]] | None,
        walk: Walk | None,
        features: list[list[Tensor]],
    ) -> Tensor:
        skips = [x]
        read = iter(above[level]) if above else None
        for block in self.encoder[level]:  # type: ignore[union-attr]
            x = block(x, [next(read)] if read else [], conds[level], walk)
            skips.append(x)
            features[level].append(x)
        if level + 1 < len(self.encoder):
            below = self.down[level](x, walk)
            if below is not None:
                coarser = walk.coarser if walk else None
                below = self._level(level + 1, below, conds, above, coarser, features)
            x = self.up[level](below, walk)
        else:
            x = skips.pop()
        for block in self.decoder[level]:  # type: ignore[union-attr]
            skip = skips.pop()
            x = block(x, [next(read), skip] if read else [skip], conds[level], walk)
            features[level].append(x)
        return x


class GatedResnet(nn.Module):
    """x + a·σ(b), with (a, b) from two convolutions between which skips come in.

    Source: Salimans et al. (2017), §2.3 to §2.5; the condition enters before the gate.
    """

    def __init__(
        self,
        num_filters: int,
        skip_channels: int,
        cond_channels: int,
        resnet_activation: ResnetActivation,
        dropout: float,
        rows: range,
        columns: range,
    ) -> None:
        super().__init__()
        self.activation, widening = activation(resnet_activation)
        wide = widening * num_filters
        self.conv_in = CausalConv2d(wide, num_filters, rows, columns)
        self.skip = Pointwise(widening * skip_channels, num_filters) if skip_channels else None
        self.dropout = nn.Dropout(dropout)
        self.conv_out = CausalConv2d(wide, 2 * num_filters, rows, columns)
        self.conv_out.init_deviation = SECOND_CONVOLUTION_DEVIATION
        self.condition = Condition(cond_channels, 2 * num_filters) if cond_channels else None

    def forward(
        self, x: Tensor, skips: list[Tensor], cond: Tensor | None, walk: Walk | None = None
    ) -> Tensor:
        """(B, F, H, W) to the same; on a walk (N, F) to the same."""
        hidden = self.conv_in(self.activation(x), walk)
        if self.skip is not None:
            skip = skips[0] if len(skips) == 1 else torch.cat(skips, 1)
            hidden = hidden + self.skip(self.activation(skip), walk)
        hidden = self.conv_out(self.dropout(self.activation(hidden)), walk)
        if self.condition is not None:
            assert cond is not None
            hidden = hidden + self.condition(cond, walk)
        value, gate = hidden.chunk(2, 1)
        return x + value * torch.sigmoid(gate)


class Head(nn.Module):
    """ELU and a 1×1 convolution to the parameters."""

    def __init__(self, num_filters: int, num_params: int) -> None:
        super().__init__()
        self.out = Output(num_filters, num_params)

    def forward(self, ul: Tensor, x: Tensor, walk: Walk | None = None) -> Tensor:
        """(B, F, H, W) to (B, num_params, H, W); the image ``x`` is not read."""
        return self.out(F.elu(ul), walk)


class ColorHead(nn.Module):
    """Two masked 1×1 layers after which a colour's parameters have seen the earlier colours."""

    def __init__(
        self, num_filters: int, colors: int, num_params: int, resnet_activation: ResnetActivation
    ) -> None:
        super().__init__()
        self.activation, widening = activation(resnet_activation)
        groups = color_groups(num_filters, colors)
        hears = color_mask("A", torch.arange(colors), groups)[:, :, None, None]
        passes = color_mask("B", groups.repeat(widening), color_groups(num_params, colors))
        self.colors = colors
        self.past = Pointwise(num_filters, num_filters)
        self.present = ImageConv2d(colors, num_filters, range(1), range(1), mask=hears)
        self.out = Output(widening * num_filters, num_params, mask=passes)

    def forward(self, ul: Tensor, x: Tensor, walk: Walk | None = None) -> Tensor:
        """(B, F, H, W) and the image (B, C + 1, H, W) to (B, num_params, H, W)."""
        image = x if walk else x[:, : self.colors]
        hidden = self.past(F.elu(ul), walk) + self.present(image, walk)
        return self.out(self.activation(hidden), walk)


def _check(
    num_resnet: int,
    num_hierarchies: int,
    num_filters: int,
    rows: int,
    columns: int,
    dropout: float,
) -> None:
    check_positive(num_resnet=num_resnet, num_hierarchies=num_hierarchies, num_filters=num_filters)
    if rows < 3 or columns < 3 or columns % 2 == 0:
        raise ValueError(
            f"receptive_field_dims=[{rows}, {columns}]: at least 3 rows, and an odd number of at "
            "least 3 columns"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}: in [0, 1)")


def check_hierarchies(num_hierarchies: int, height: int, width: int) -> None:
    """Refuse a coarsest level of a single position: it would see nothing of the image.

    Raises:
        ValueError: naming the largest num_hierarchies for images of this size.
    """
    most = max(1, (max(height, width) - 1).bit_length())
    if num_hierarchies > most:
        raise ValueError(
            f"num_hierarchies={num_hierarchies}: images of {height}x{width} allow at most {most}, "
            "deeper levels would be empty"
        )
