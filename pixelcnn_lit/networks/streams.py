"""The streams of PixelCNN++: gated residual blocks on several levels of resolution.

Source: Salimans et al. (2017), PixelCNN++, §2.3 to §2.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixelcnn_lit.layers import (
    CausalConv2d,
    Condition,
    Downsample,
    Pointwise,
    RasterCache,
    Upsample,
)
from pixelcnn_lit.layers.activations import RESNET_ACTIVATIONS, ResnetActivation
from pixelcnn_lit.networks.base import Conds, Features

SECOND_CONVOLUTION_DEVIATION = 0.1
"""What data-dependent initialisation gives the second convolution of a block: near identity."""


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
            style = (resnet_activation, dropout)
            return GatedResnet(num_filters, skip_channels, cond_channels, *style, rows, columns)

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

    def _level(
        self,
        level: int,
        x: Tensor,
        conds: Conds,
        above: Features | None,
        cache: RasterCache | None,
        features: Features,
    ) -> Tensor:
        skips = [x]
        read = iter(above[level]) if above else None
        for block in self.encoder[level]:  # type: ignore[union-attr]
            x = block(x, [next(read)] if read else [], conds[level], cache)
            skips.append(x)
            features[level].append(x)
        if level + 1 < len(self.encoder):
            below = self.down[level](x, cache)
            if below is not None:
                coarser = cache.coarser if cache else None
                below = self._level(level + 1, below, conds, above, coarser, features)
            x = self.up[level](below, cache)
        else:
            x = skips.pop()
        for block in self.decoder[level]:  # type: ignore[union-attr]
            skip = skips.pop()
            x = block(x, [next(read), skip] if read else [skip], conds[level], cache)
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
        self.activation, widening = RESNET_ACTIVATIONS[resnet_activation]
        wide = widening * num_filters
        self.conv_in = CausalConv2d(wide, num_filters, rows, columns)
        self.skip = Pointwise(widening * skip_channels, num_filters) if skip_channels else None
        self.dropout = nn.Dropout(dropout)
        self.conv_out = CausalConv2d(wide, 2 * num_filters, rows, columns)
        self.conv_out.init_deviation = SECOND_CONVOLUTION_DEVIATION
        self.condition = Condition(cond_channels, 2 * num_filters) if cond_channels else None

    def forward(
        self, x: Tensor, skips: list[Tensor], cond: Tensor | None, cache: RasterCache | None = None
    ) -> Tensor:
        """(B, F, H, W) to the same; on a walk (N, F) to the same."""
        hidden = self.conv_in(self.activation(x), cache)
        if self.skip is not None:
            skip = skips[0] if len(skips) == 1 else torch.cat(skips, 1)
            hidden = hidden + self.skip(self.activation(skip), cache)
        hidden = self.conv_out(self.dropout(self.activation(hidden)), cache)
        if self.condition is not None:
            assert cond is not None
            hidden = hidden + self.condition(cond, cache)
        value, gate = hidden.chunk(2, 1)
        return x + value * torch.sigmoid(gate)
