"""From the features of a pixel to its parameters, with or without an order of the colours."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers import (
    ImageConv2d,
    Output,
    Pointwise,
    RasterCache,
    color_groups,
    color_mask,
)
from pixelcnn_lit.layers.activations import RESNET_ACTIVATIONS, ResnetActivation


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
        self,
        num_filters: int,
        colors: int,
        in_channels: int,
        num_params: int,
        resnet_activation: ResnetActivation,
    ) -> None:
        super().__init__()
        self.activation, widening = RESNET_ACTIVATIONS[resnet_activation]
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
