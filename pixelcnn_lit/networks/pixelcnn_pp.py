"""PixelCNN++.

Source: Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++: Improving the PixelCNN with
Discretized Logistic Mixture Likelihood and Other Modifications. Argument names follow the
distribution of TensorFlow Probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelcnn_lit.layers import ImageConv2d, RasterCache
from pixelcnn_lit.layers.activations import RESNET_ACTIVATIONS, ResnetActivation
from pixelcnn_lit.networks.base import AbstractNetwork, Conds, Features, check_sizes
from pixelcnn_lit.networks.heads import ColorHead, Head
from pixelcnn_lit.networks.streams import Stream
from pixelcnn_lit.networks.weight_norm import normalise_weights, normed_layers


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
    spot. Any image size works: the image is padded below and to the right, which causality makes
    harmless, and the parameters are cropped back.

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
        shape = (options.num_resnet, options.num_hierarchies, num_filters, self.cond_channels)
        style = (options.resnet_activation, options.dropout)
        self.u = Stream(*shape, *style, range(-rows + 2, 1), around, range(-1, 2), reads=0)
        self.ul = Stream(*shape, *style, range(-1, 1), range(-side, 1), range(-1, 1), reads=1)
        self.head = (
            ColorHead(num_filters, self.colors, in_channels, self.num_params, style[0])
            if self.colors > 1
            else Head(num_filters, self.num_params)
        )
        for layer in normed_layers(self):
            nn.init.normal_(layer.weight, std=0.05)
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
