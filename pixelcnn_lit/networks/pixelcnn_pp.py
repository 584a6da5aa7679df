"""PixelCNN++.

Source: Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++: Improving the PixelCNN with
Discretized Logistic Mixture Likelihood and Other Modifications. Argument names follow the
distribution of TensorFlow Probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers import (
    RESNET_ACTIVATIONS,
    CausalConv2d,
    Condition,
    Downsample,
    ImageConv2d,
    Output,
    Pointwise,
    RasterCache,
    Skip,
    Upsample,
    color_groups,
    color_mask,
    fused,
)
from pixelcnn_lit.layers.fused import Bordered
from pixelcnn_lit.networks.base import AbstractBlock, AbstractNetwork, Conds, Features, check_sizes
from pixelcnn_lit.networks.weight_norm import normalise_weights, normed_layers

SECOND_CONVOLUTION_DEVIATION = 0.1
"""What data-dependent initialisation gives the second convolution of a block: near identity."""

ResnetActivation = Literal["concat_elu", "elu", "relu"]


@dataclass(frozen=True)
class PixelCNNPPOptions:
    """The options of :class:`PixelCNNPP`; the defaults are the paper's.

    Args:
        num_resnet: gated residual blocks per level on the way down; one more on the way up.
        num_hierarchies: levels of resolution.
        num_filters: width of both streams.
        receptive_field_dims: rows (with the own one) and columns (odd) that the convolutions read
            around a pixel.
        dropout: in [0, 1), inside every block.
        resnet_activation: "concat_elu", "elu" or "relu".
        weight_norm: normalise the weights of every convolution.
        data_init: initialise from the first batch of the training data.

    Raises:
        ValueError: naming the option, if one is out of range.
    """

    num_resnet: int = 5
    num_hierarchies: int = 3
    num_filters: int = 160
    receptive_field_dims: Sequence[int] = (3, 3)
    dropout: float = 0.5
    resnet_activation: ResnetActivation = "concat_elu"
    weight_norm: bool = True
    data_init: bool = True

    def __post_init__(self) -> None:
        """Refuse what fits no image."""
        check_sizes(self, "num_resnet", "num_hierarchies", "num_filters")
        dims = list(self.receptive_field_dims)
        if len(dims) != 2 or min(dims) < 3 or dims[1] % 2 == 0:
            raise ValueError(
                f"receptive_field_dims={dims}: [rows, columns], at least 3 rows, and an odd number"
                " of at least 3 columns"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: in [0, 1)")
        if self.resnet_activation not in RESNET_ACTIVATIONS:
            allowed = ", ".join(RESNET_ACTIVATIONS)
            raise ValueError(f"resnet_activation={self.resnet_activation!r}: allowed are {allowed}")


class PixelCNNPP(AbstractNetwork[PixelCNNPPOptions]):
    """Two streams on several levels of resolution, joined by skip connections.

    The stream u sees the rows above, the stream ul also the row so far, so there is no blind
    spot. Any image size works: the image is padded below and to the right, which is harmless.

    With ``orders_channels`` and several colours a head of two masked 1×1 layers lets the
    parameters of a colour see the earlier colours of the pixel. (The paper has no such head: its
    likelihood couples the colours.)

    Example:
        >>> options = PixelCNNPPOptions(num_resnet=1, num_hierarchies=2, num_filters=8)
        >>> network = PixelCNNPP(options, in_channels=1, num_params=6)
        >>> network(torch.zeros(2, 1, 5, 7)).shape
        torch.Size([2, 6, 5, 7])
    """

    options_type = PixelCNNPPOptions

    def _build(self, options: PixelCNNPPOptions) -> None:
        check_sizes(options, "num_filters", least=self.colors)
        self.num_hierarchies, self.data_init = options.num_hierarchies, options.data_init
        in_channels, num_filters = self.in_channels, options.num_filters
        rows, columns = options.receptive_field_dims
        side = columns // 2
        above, around = range(-rows + 1, 0), range(-side, side + 1)
        image_channels = in_channels + 1  # a channel of ones marks the padding
        self.u_above = ImageConv2d(image_channels, num_filters, above, around)
        self.ul_above = ImageConv2d(image_channels, num_filters, range(-1, 0), around)
        self.ul_left = ImageConv2d(image_channels, num_filters, range(-1, 1), range(-side, 0))
        given = (options, self.cond_channels)
        self.u = Stream(*given, range(-rows + 2, 1), around, range(-1, 2), reads=0)
        self.ul = Stream(*given, range(-1, 1), range(-side, 1), range(-1, 1), reads=1)
        self.head = (
            ColorHead(options, self.colors, in_channels, self.num_params)
            if self.colors > 1
            else Head(num_filters, self.num_params)
        )
        for layer in normed_layers(self):
            layer.weight.data.copy_(nn.init.normal_(torch.empty(layer.weight.shape), std=0.05))
            nn.init.zeros_(layer.bias)
        if options.weight_norm:
            normalise_weights(self)

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Refuse a coarsest level of a single position: it would see nothing of the image.

        Raises:
            ValueError: naming the largest num_hierarchies for images of this size.
        """
        height, width = image_size
        most = max(1, (max(height, width) - 1).bit_length())
        if self.num_hierarchies > most:
            raise ValueError(
                f"num_hierarchies={self.num_hierarchies}: images of {height}x{width} allow at most"
                f" {most}, deeper levels would be empty"
            )

    def canvas(self, x: Tensor) -> Tensor:
        """The image with a channel of ones, padded to whole blocks of the coarsest level."""
        block = 2 ** (self.num_hierarchies - 1)
        marked = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        return F.pad(marked, (0, -x.shape[-1] % block, 0, -x.shape[-2] % block))

    def vertical(self, x: Tensor, conds: Conds, cache: RasterCache | None = None) -> Features:
        """The stream u, and what the stream ul starts from of the row above (level 0, last)."""
        features = self.u(self.u_above(x, cache), conds, None, cache)[1]
        features[0].append(self.ul_above(x, cache))
        return features

    def horizontal(
        self, x: Tensor, features: Features, conds: Conds, cache: RasterCache | None = None
    ) -> Tensor:
        """The stream ul and the head."""
        start = features[0][-1] + self.ul_left(x, cache)
        return self.head(self.ul(start, conds, features, cache)[0], x, cache)


class Stream(nn.Module):
    """Residual blocks down to the coarsest level and up again, with skip connections across.

    ``reads`` is 1 for the stream ul, whose every block reads the feature of u of the same name,
    and 0 for u itself.
    """

    def __init__(
        self,
        options: PixelCNNPPOptions,
        cond_channels: int,
        rows: range,
        columns: range,
        stride_columns: range,
        *,
        reads: int,
    ) -> None:
        super().__init__()

        def block(num_skips: int) -> GatedResnet:
            return GatedResnet(options, num_skips, cond_channels, rows, columns)

        self.activation = RESNET_ACTIVATIONS[options.resnet_activation]
        num_resnet, num_filters = options.num_resnet, options.num_filters
        num_hierarchies, coarsest = options.num_hierarchies, options.num_hierarchies - 1
        self.encoder = nn.ModuleList(
            nn.ModuleList(block(reads) for _ in range(num_resnet)) for _ in range(num_hierarchies)
        )
        self.decoder = nn.ModuleList(
            nn.ModuleList(block(reads + 1) for _ in range(num_resnet + (level < coarsest)))
            for level in range(num_hierarchies)
        )
        self.border = self.encoder[0][0].conv_in.border  # type: ignore[index]
        upward = range(stride_columns.start, 2) if not reads else range(2)
        self.down = nn.ModuleList(
            Downsample(num_filters, num_filters, range(-1, 1), stride_columns)
            for _ in range(coarsest)
        )
        self.up = nn.ModuleList(Upsample(num_filters, num_filters, upward) for _ in range(coarsest))

    def forward(
        self, x: Tensor, conds: Conds, above: Features | None, cache: RasterCache | None = None
    ) -> tuple[Tensor, Features]:
        """The stream's output on the finest level and the features of its blocks, per level.

        Args:
            x: what the stream starts from, (B, F, H, W), or (N, F) on a walk.
            conds: the condition for each level.
            above: the features of the stream u, or None if this is u.
            cache: of a walk, if there is one; sleeping levels give no features.
        """
        features: Features = [[] for _ in self.encoder]
        return self._level(0, x, conds, above, cache, features), features

    def activate(self, x: Tensor, cache: RasterCache | None) -> Tensor | Bordered:
        """What the next block and those that skip to here read."""
        if cache is None and fused.serves(x):
            return fused.activate(x, self.activation, self.border)
        return self.activation(x)

    def _level(
        self,
        level: int,
        x: Tensor,
        conds: Conds,
        above: Features | None,
        cache: RasterCache | None,
        features: Features,
    ) -> Tensor:
        read = iter(above[level]) if above else None
        active = self.activate(x, cache)
        skips = [active]
        for block in self.encoder[level]:  # type: ignore[union-attr]
            given = [next(read)] if read else []
            x, active = block(x, active, given, conds[level], cache)
            skips.append(active)
            features[level].append(active)
        if level + 1 < len(self.encoder):
            below = self.down[level](x, cache)
            if below is not None:
                coarser = cache.coarser if cache else None
                below = self._level(level + 1, below, conds, above, coarser, features)
            x = self.up[level](below, cache)
            active = self.activate(x, cache)
        else:
            skips.pop()
        for block in self.decoder[level]:  # type: ignore[union-attr]
            given = [next(read), skips.pop()] if read else [skips.pop()]
            x, active = block(x, active, given, conds[level], cache)
            features[level].append(active)
        return x


class GatedResnet(AbstractBlock):
    """x + a·σ(b), with (a, b) from two convolutions between which skips come in (§2.3 to §2.5).

    The condition enters before the gate.
    """

    def __init__(
        self,
        options: PixelCNNPPOptions,
        num_skips: int,
        cond_channels: int,
        rows: range,
        columns: range,
    ) -> None:
        super().__init__()
        self.activation = RESNET_ACTIVATIONS[options.resnet_activation]
        num_filters, widening = options.num_filters, self.activation.widening
        wide = widening * num_filters
        self.conv_in = CausalConv2d(wide, num_filters, rows, columns)
        self.skip = Skip(num_skips, num_filters, widening) if num_skips else None
        self.dropout = options.dropout
        self.conv_out = CausalConv2d(wide, 2 * num_filters, rows, columns)
        self.conv_out.init_deviation = SECOND_CONVOLUTION_DEVIATION
        self.condition = Condition(cond_channels, 2 * num_filters) if cond_channels else None

    def forward(
        self,
        x: Tensor,
        active: Tensor | Bordered,
        skips: list[Any],
        cond: Tensor | None,
        cache: RasterCache | None = None,
    ) -> tuple[Tensor, Tensor | Bordered]:
        """(B, F, H, W) and its activation to the same of the next; on a walk (N, F)."""
        hidden = self.conv_in(active, cache)
        if isinstance(active, Bordered):
            parts = self.skip.parts(skips) if self.skip else []
            dropout = self.dropout if self.training else 0.0
            border = self.conv_out.border
            hidden = fused.activate(hidden, self.activation, border, *parts, dropout=dropout)
        else:
            if self.skip:
                hidden = hidden + self.skip(skips, cache)
            hidden = self.activation(hidden)
            if cache is None:
                hidden = F.dropout(hidden, self.dropout, self.training)
        wide = self.conv_out(hidden, cache)
        if self.condition is not None:
            assert cond is not None
            wide = wide + self.condition(cond, cache)
        if isinstance(active, Bordered):
            return fused.gate(x, wide, self.activation, active.border)
        x = x + F.glu(wide, 1)
        return x, self.activation(x)


class Head(nn.Module):
    """ELU and a 1×1 convolution to the parameters."""

    def __init__(self, num_filters: int, num_params: int) -> None:
        super().__init__()
        self.out = Output(num_filters, num_params)

    def forward(self, ul: Tensor, x: Tensor, cache: RasterCache | None = None) -> Tensor:
        """(B, F, H, W) to (B, num_params, H, W); the image ``x`` is not read."""
        return self.out(F.elu(ul), cache)


class ColorHead(nn.Module):
    """Two masked 1×1 layers after which a colour's parameters have seen the earlier colours."""

    def __init__(
        self, options: PixelCNNPPOptions, colors: int, in_channels: int, num_params: int
    ) -> None:
        super().__init__()
        self.activation = RESNET_ACTIVATIONS[options.resnet_activation]
        num_filters, widening = options.num_filters, self.activation.widening
        groups = color_groups(num_filters, colors)
        hears = color_mask("A", color_groups(in_channels, colors), groups)[:, :, None, None]
        passes = color_mask("B", groups.repeat(widening), color_groups(num_params, colors))
        self.in_channels = in_channels
        self.past = Pointwise(num_filters, num_filters)
        self.present = ImageConv2d(in_channels, num_filters, range(1), range(1), mask=hears)
        self.out = Output(widening * num_filters, num_params, mask=passes)

    def forward(self, ul: Tensor, x: Tensor, cache: RasterCache | None = None) -> Tensor:
        """(B, F, H, W) and the image (B, in_channels + 1, H, W) to (B, num_params, H, W)."""
        image = x if cache else x[:, : self.in_channels]
        hidden = self.past(F.elu(ul), cache) + self.present(image, cache)
        return self.out(self.activation(hidden), cache)
