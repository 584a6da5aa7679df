"""The PixelCNNs as their papers write them, in plain layers: what ours are measured against.

Images are (B, C, H, W) throughout, padding is ``F.pad``, an activation is made where it is read,
skips are concatenated, dropout and Adam are torch's, a mixture copies the pixel for each of its
components. Nothing is clever and nothing is crippled: of a masked kernel only the rows that its
mask leaves open are computed, as ours are. The layers have the names of ours and take their
weights, so that a test can show that both compute the same.

Sources: van den Oord et al. (2016a), Pixel Recurrent Neural Networks, §3.4 and table 1; van den
Oord et al. (2016b), Conditional Image Generation with PixelCNN Decoders, §2 and figure 2; Salimans
et al. (2017), PixelCNN++, §2, and the code that came with it. Departures: the mixture is exact also
where a bin has a probability below 1e-5, as ours is; the vertical stack of Gated PixelCNN is
shifted where it reads the image, as ours is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from textbook_likelihoods import logistic_mixture, softmax
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from pixelcnn_lit.models import AbstractLitModel

LogProb = Callable[[Tensor, Tensor], Tensor]
"""From params (B, num_params, H, W) and levels (B, C, H, W) to nats per image (B,)."""


class Textbook(nn.Module):
    """A model: levels to nats.

    Args:
        network: floats (B, C, H, W), and a code (B, D) or None, to params (B, num_params, H, W).
        likelihood: what the params mean.
        encoder: floats to the code (B, D); None for none.
        num_levels: levels of a colour.
    """

    def __init__(
        self, network: nn.Module, likelihood: LogProb, encoder: nn.Module | None, num_levels: int
    ) -> None:
        super().__init__()
        self.network = network
        self.likelihood = likelihood
        self.encoder = encoder
        self.num_levels = num_levels

    def log_prob(self, images: Tensor) -> Tensor:
        """Levels (B, C, H, W) to nats per image (B,)."""
        x = images.to(torch.get_default_dtype()) * (2 / (self.num_levels - 1)) - 1
        code = self.encoder(x) if self.encoder else None
        return self.likelihood(self.network(x, code), images)


def textbook_of(model: AbstractLitModel) -> Textbook:
    """The same model in plain layers, with a copy of its weights.

    Args:
        model: with 3×3 receptive fields, concat_elu and weight norm if it is a PixelCNN++, of one
            colour and with a softmax if it is not; without labels, vectors or maps.
    """
    options, likelihood = model.hparams["network"], model.hparams["likelihood"]
    channels, num_levels = model.hparams["channels"], model.hparams["num_levels"]
    encoder = copy.deepcopy(getattr(model.condition, "encoder", None))
    cond_channels, num_params = model.condition.cond_channels, model.likelihood.num_params
    sizes = (options["num_filters"], num_params)
    if options["name"] == "pp":
        network: nn.Module = PixelCNNPP(
            channels, *sizes, options["num_resnet"], options["num_hierarchies"], options["dropout"]
        )
        num_mix = likelihood["num_logistic_mix"]

        def log_prob(params: Tensor, images: Tensor) -> Tensor:
            return logistic_mixture(params, images, num_levels, num_mix)
    else:
        kinds = {"gated": GatedPixelCNN, "pixelcnn": PixelCNN}
        given = (*sizes, options["num_layers"], options["num_hidden"], cond_channels)
        network, log_prob = kinds[options["name"]](*given), softmax
    short = {"head.out.conv.": "output.", "output.conv.": "output."}
    weights = dict(model.network.state_dict())
    for ours, plain in short.items():
        weights = {name.replace(ours, plain): weight for name, weight in weights.items()}
    network.load_state_dict(weights)
    return Textbook(network, log_prob, encoder, num_levels).to(model.device)


class PaddedConv2d(nn.Conv2d):
    """A convolution that reads the given rows and columns around a pixel, zeros outside."""

    def __init__(
        self, in_channels: int, out_channels: int, rows: range, columns: range, stride: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, (len(rows), len(columns)), stride)
        self.border = (-columns.start, columns.stop - 1, -rows.start, rows.stop - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H/stride, W/stride)."""
        return super().forward(F.pad(x, self.border))


class MaskedConv2d(PaddedConv2d):
    """The rows of a k×k convolution up to the pixel's own, dark to its right (2016a, figure 2).

    With mask A the pixel itself is dark, too.
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, size: int, mask_type: str) -> None:
        side = size // 2
        super().__init__(in_channels, out_channels, range(-side, 1), range(-side, side + 1))
        mask = torch.ones(side + 1, size)
        mask[side, side + (mask_type == "B") :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        return F.conv2d(F.pad(x, self.border), self.weight * self.mask, self.bias)


class PixelCNN(nn.Module):
    """Mask A, residual blocks behind bottlenecks, two 1×1 layers, for one colour."""

    def __init__(
        self, num_filters: int, num_params: int, num_layers: int, num_hidden: int, _: int = 0
    ) -> None:
        super().__init__()
        width = 2 * num_filters
        self.input = MaskedConv2d(1, width, 7, "A")
        self.blocks = nn.ModuleList(Block(num_filters) for _ in range(num_layers))
        self.hidden = nn.ModuleList(
            [nn.Conv2d(width, num_hidden, 1), nn.Conv2d(num_hidden, num_hidden, 1)]
        )
        self.output = nn.Conv2d(num_hidden, num_params, 1)

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """(B, 1, H, W) to (B, num_params, H, W)."""
        x = self.input(x)
        for block in self.blocks:
            x = block(x)
        for layer in (*self.hidden, self.output):
            x = layer(F.relu(x))
        return x


class Block(nn.Module):
    """Figure 5 of 2016a: ReLU and 1×1, ReLU and 3×3 with mask B, ReLU and 1×1, added to x."""

    def __init__(self, num_filters: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.ReLU(), nn.Conv2d(2 * num_filters, num_filters, 1))
        self.conv = MaskedConv2d(num_filters, num_filters, 3, "B")
        self.widen = nn.Sequential(nn.ReLU(), nn.Conv2d(num_filters, 2 * num_filters, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2F, H, W) to the same."""
        return x + self.widen(self.conv(F.relu(self.narrow(x))))


class GatedPixelCNN(nn.Module):
    """Layers of a vertical and a horizontal stack, two 1×1 layers, for one colour."""

    def __init__(
        self,
        num_filters: int,
        num_params: int,
        num_layers: int,
        num_hidden: int,
        cond_channels: int = 0,
    ) -> None:
        super().__init__()
        wide = 2 * num_filters
        self.vertical_layers = nn.ModuleList()
        self.horizontal_layers = nn.ModuleList()
        for layer in range(num_layers):
            side, source = (1, num_filters) if layer else (3, 1)
            around = range(-side, side + 1)
            above = range(-side, 1) if layer else range(-side - 1, 0)
            left = range(-side, 1) if layer else range(-side, 0)
            vertical, horizontal = nn.Module(), nn.Module()
            vertical.conv = PaddedConv2d(source, wide, above, around)
            vertical.link = nn.Conv2d(wide, wide, 1)
            horizontal.conv = PaddedConv2d(source, wide, range(1), left)
            horizontal.out = nn.Conv2d(num_filters, num_filters, 1)
            for stack in (vertical, horizontal) if cond_channels else ():
                stack.condition = nn.Linear(cond_channels, wide, bias=False)
            self.vertical_layers.append(vertical)
            self.horizontal_layers.append(horizontal)
        self.hidden = nn.Conv2d(num_filters, num_hidden, 1)
        self.output = nn.Conv2d(num_hidden, num_params, 1)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """(B, 1, H, W) and (B, D) or None to (B, num_params, H, W); equations 2 and 4."""
        v = h = x
        for layer, (vertical, horizontal) in enumerate(
            zip(self.vertical_layers, self.horizontal_layers, strict=True)
        ):
            wide = vertical.conv(v)
            if cond is not None:
                wide = wide + vertical.condition(cond)[:, :, None, None]
            v = gate(wide)
            wide = horizontal.conv(h) + vertical.link(wide)
            if cond is not None:
                wide = wide + horizontal.condition(cond)[:, :, None, None]
            out = horizontal.out(gate(wide))
            h = h + out if layer else out
        return self.output(F.relu(self.hidden(F.relu(h))))


def gate(wide: Tensor) -> Tensor:
    """Tanh of one half times σ of the other: (B, 2F, H, W) to (B, F, H, W)."""
    a, b = wide.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class PixelCNNPP(nn.Module):
    """Two streams down to the coarsest level and up again (2017, figure 2)."""

    def __init__(
        self,
        in_channels: int,
        num_filters: int,
        num_params: int,
        num_resnet: int,
        num_hierarchies: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_hierarchies = num_hierarchies
        given, around = (in_channels + 1, num_filters), range(-1, 2)
        self.u_above = weight_norm(PaddedConv2d(*given, range(-2, 0), around))
        self.ul_above = weight_norm(PaddedConv2d(*given, range(-1, 0), around))
        self.ul_left = weight_norm(PaddedConv2d(*given, range(-1, 1), range(-1, 0)))
        sizes = (num_resnet, num_hierarchies, num_filters, dropout)
        self.u = Stream(*sizes, around, 0)
        self.ul = Stream(*sizes, range(-1, 1), 1)
        self.output = weight_norm(nn.Conv2d(num_filters, num_params, 1))

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """(B, C, H, W), whole blocks of the coarsest level, to (B, num_params, H, W)."""
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)  # marks the padding
        u = [self.u_above(x)]
        ul = [self.ul_above(x) + self.ul_left(x)]
        for level in range(self.num_hierarchies):
            if level:
                u.append(self.u.down[level - 1](u[-1]))
                ul.append(self.ul.down[level - 1](ul[-1]))
            for over, own in zip(self.u.encoder[level], self.ul.encoder[level], strict=True):
                u.append(over(u[-1]))
                ul.append(own(ul[-1], u[-1]))
        above, here = u.pop(), ul.pop()
        for level in reversed(range(self.num_hierarchies)):
            for over, own in zip(self.u.decoder[level], self.ul.decoder[level], strict=True):
                above = over(above, u.pop())
                here = own(here, torch.cat([above, ul.pop()], 1))
            if level:
                above, here = self.u.up[level - 1](above), self.ul.up[level - 1](here)
        return self.output(F.elu(here))


class Stream(nn.Module):
    """The layers of u or of ul, by level; every block of ul (``reads`` 1) reads one of u."""

    def __init__(
        self,
        num_resnet: int,
        num_hierarchies: int,
        num_filters: int,
        dropout: float,
        columns: range,
        reads: int,
    ) -> None:
        super().__init__()

        def blocks(number: int, num_skips: int) -> nn.ModuleList:
            given = (num_filters, num_skips, dropout, columns)
            return nn.ModuleList(GatedResnet(*given) for _ in range(number))

        coarsest, side = num_hierarchies - 1, -columns.start if not reads else 0
        self.encoder = nn.ModuleList(blocks(num_resnet, reads) for _ in range(num_hierarchies))
        self.decoder = nn.ModuleList(
            blocks(num_resnet + (level < coarsest), reads + 1) for level in range(num_hierarchies)
        )
        given = (num_filters, num_filters)
        self.down = nn.ModuleList(
            weight_norm(PaddedConv2d(*given, range(-1, 1), columns, stride=2))
            for _ in range(coarsest)
        )
        crop = {"padding": (0, side), "output_padding": (0, side)}
        self.up = nn.ModuleList(
            weight_norm(nn.ConvTranspose2d(*given, (2, len(columns)), 2, **crop), dim=1)
            for _ in range(coarsest)
        )


class GatedResnet(nn.Module):
    """x + a·σ(b), where (a, b) comes of two convolutions with the skips between them."""

    def __init__(self, num_filters: int, num_skips: int, dropout: float, columns: range) -> None:
        super().__init__()
        wide, rows = 2 * num_filters, range(-1, 1)
        self.conv_in = weight_norm(PaddedConv2d(wide, num_filters, rows, columns))
        if num_skips:
            self.skip = weight_norm(nn.Conv2d(num_skips * wide, num_filters, 1))
        self.dropout = nn.Dropout(dropout)
        self.conv_out = weight_norm(PaddedConv2d(wide, wide, rows, columns))

    def forward(self, x: Tensor, skips: Tensor | None = None) -> Tensor:
        """(B, F, H, W) and (B, num_skips·F, H, W) to (B, F, H, W)."""
        hidden = self.conv_in(concat_elu(x))
        if skips is not None:
            hidden = hidden + self.skip(concat_elu(skips))
        a, b = self.conv_out(self.dropout(concat_elu(hidden))).chunk(2, 1)
        return x + a * torch.sigmoid(b)


def concat_elu(x: Tensor) -> Tensor:
    """(B, F, H, W) to (B, 2F, H, W)."""
    return F.elu(torch.cat([x, -x], 1))
