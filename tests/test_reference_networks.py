"""The networks compute what their papers say, written out a second time as sums over taps.

Sources: van den Oord et al. (2016a), Pixel Recurrent Neural Networks, §3.4 and table 1; van den
Oord et al. (2016b), Conditional Image Generation with PixelCNN Decoders, eq. 2 to 5 and figure 2;
Salimans et al. (2017), PixelCNN++, §2.3 to §2.5 and figure 2. Nothing of the project's layers is
used here: only the names of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pixelcnn_lit.layers import fused
from pixelcnn_lit.layers.fused import Bordered
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.networks.gated_pixelcnn import GatedPixelCNN
from pixelcnn_lit.networks.pixelcnn import PixelCNN
from pixelcnn_lit.networks.pixelcnn_pp import PixelCNNPP

pytestmark = pytest.mark.usefixtures("float64", "both_ways")

Weights = dict[str, Tensor]
Reference = Callable[[Weights, Tensor, Tensor | None, int], Tensor]
NUM_PARAMS = 6


@pytest.fixture(params=["fused", "plain"])
def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """As the networks compute on a CPU, and everywhere else."""
    with fused.disabled() if request.param == "plain" else nullcontext():
        yield


def look(x: Tensor, kernel: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Σ over the taps of ``kernel[…, r, c]`` times ``x`` at that offset; zeros lie outside."""
    height, width = x.shape[-2:]
    canvas = F.pad(x, (4, 4, 4, 4))
    total = x.new_zeros(len(x), len(kernel), height, width)
    for r, row in enumerate(rows):
        for c, column in enumerate(columns):
            seen = canvas[:, :, 4 + row : 4 + row + height, 4 + column : 4 + column + width]
            total += torch.einsum("oi,bihw->bohw", kernel[:, :, r, c], seen)
    return total


def colored(kernel: Tensor, colors: int, mask_type: str, *, halves: int = 1) -> Tensor:
    """A tap on the pixel itself: dark from later colours on (B), or from the own one on (A)."""
    num_outputs, num_inputs = kernel.shape
    kernel = kernel.clone()
    for o in range(num_outputs):
        for i in range(num_inputs):
            size = num_outputs // halves
            own, other = (o % size) * colors // size, i * colors // num_inputs
            if other > own or (mask_type == "A" and other == own):
                kernel[o, i] = 0
    return kernel


def masked(w: Weights, name: str, x: Tensor, colors: int, mask_type: str = "B") -> Tensor:
    """A k×k convolution under the mask of 2016a, figure 2 (of which the open rows are stored)."""
    kernel = w[f"{name}.weight"].clone()
    side = kernel.shape[3] // 2
    kernel[:, :, side, side] = colored(kernel[:, :, side, side], colors, mask_type)
    kernel[:, :, side, side + 1 :] = 0
    around = range(-side, side + 1)
    return look(x, kernel, range(-side, 1), around) + w[f"{name}.bias"][:, None, None]


def project(w: Weights, name: str, cond: Tensor | None) -> Tensor | float:
    """Vᵀh at every position, of a vector or of a map."""
    if cond is None:
        return 0.0
    everywhere = cond if cond.ndim == 4 else cond[:, :, None, None]
    return torch.einsum("od,bdhw->bohw", w[f"{name}.condition.weight"], everywhere)


def bent(w: Weights, name: str, x: Tensor) -> Tensor:
    """ReLU, or with a learnt slope below 0 where there is one."""
    slope = w.get(f"{name}.weight", torch.zeros(()))
    return torch.where(x > 0, x, slope * x)


def pixelcnn(w: Weights, x: Tensor, cond: Tensor | None, colors: int) -> Tensor:
    """Table 1: 7×7 mask A, residual blocks, two 1×1 layers with ReLU, the parameters."""
    stream = masked(w, "input", x, colors, "A")
    for name in (f"blocks.{block}" for block in range(2)):
        hidden = stream
        if f"{name}.narrow.1.weight" in w:
            hidden = masked(w, f"{name}.narrow.1", bent(w, f"{name}.narrow.0", hidden), colors)
        hidden = masked(w, f"{name}.conv", bent(w, f"{name}.before_conv", hidden), colors)
        hidden = hidden + project(w, name, cond)
        if f"{name}.widen.1.weight" in w:
            hidden = masked(w, f"{name}.widen.1", bent(w, f"{name}.widen.0", hidden), colors)
        stream = stream + hidden
    for i, name in enumerate(["hidden.0", "hidden.1", "output.conv"]):
        stream = masked(w, name, bent(w, f"activations.{i}", stream), colors)
    return stream


def gated_pixelcnn(w: Weights, x: Tensor, cond: Tensor | None, colors: int) -> Tensor:
    """Figure 2, layer by layer; the image reaches the vertical stack shifted down by a row."""

    def gate(wide: Tensor) -> Tensor:
        half = wide.shape[1] // 2
        return torch.tanh(wide[:, :half]) / (1 + torch.exp(-wide[:, half:]))

    above, left = F.pad(x, (0, 0, 1, 0))[:, :, :-1], x
    for layer in range(3):
        name = f"vertical_layers.{layer}"
        kernel = w[f"{name}.conv.weight"]
        side = kernel.shape[3] // 2
        wide = look(above, kernel, range(-side, 1), range(-side, side + 1))
        wide = wide + w[f"{name}.conv.bias"][:, None, None] + project(w, name, cond)
        above = gate(wide)
        link = look(wide, w[f"{name}.link.weight"], [0], [0])
        link = link + w[f"{name}.link.bias"][:, None, None]

        name = f"horizontal_layers.{layer}"
        kernel = w[f"{name}.conv.weight"].clone()
        if layer or colors > 1:  # with one colour nothing of mask A is left on the pixel itself
            own = colored(kernel[:, :, 0, side], colors, "B" if layer else "A", halves=2)
            kernel[:, :, 0, side] = own
        wide = look(left, kernel, [0], range(-side, kernel.shape[3] - side)) + link
        wide = wide + w[f"{name}.conv.bias"][:, None, None] + project(w, name, cond)
        out = masked(w, f"{name}.out", gate(wide), colors)
        left = left + out if layer else out
    return masked(w, "output.conv", masked(w, "hidden", left.relu(), colors).relu(), colors)


class PixelCNNPPReference:
    """§2.3 to §2.5 with one list of skips for all levels; 3 levels, 2 blocks each.

    ``kept`` are the factors by which dropout multiplies the features of a block, by its name.
    """

    def __init__(self, w: Weights, kept: Weights) -> None:
        self.w = w
        self.kept = kept

    def conv(self, name: str, x: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        return look(x, self.weight(name), rows, columns) + self.w[f"{name}.bias"][:, None, None]

    def weight(self, name: str, axis: int = 0) -> Tensor:
        """g·v/‖v‖, a length for every output."""
        if f"{name}.weight" in self.w:
            return self.w[f"{name}.weight"]
        g = self.w[f"{name}.parametrizations.weight.original0"]
        v = self.w[f"{name}.parametrizations.weight.original1"]
        others = [a for a in range(4) if a != axis]
        return g * v / v.square().sum(others, keepdim=True).sqrt()

    def spread(self, name: str, x: Tensor, first: int) -> Tensor:
        """Every value over two rows and the columns from ``first`` on of a level twice as fine."""
        weight = self.weight(name, axis=1)
        batch, _, height, width = x.shape
        total = x.new_zeros(batch, weight.shape[1], 2 * height, 2 * width + 2)
        for row in range(2):
            for c in range(weight.shape[3]):
                values = torch.einsum("io,bihw->bohw", weight[:, :, row, c], x)
                start = 1 + first + c
                total[:, :, row::2, start : start + 2 * width : 2] += values
        return total[..., 1:-1] + self.w[f"{name}.bias"][:, None, None]

    def block(
        self, name: str, x: Tensor, skips: list[Tensor], cond: Tensor | None, left: range
    ) -> Tensor:
        def concat_elu(features: Tensor) -> Tensor:
            return torch.cat([F.elu(features), F.elu(-features)], 1)

        hidden = self.conv(f"{name}.conv_in", concat_elu(x), [-1, 0], left)
        if skips:
            hidden = hidden + self.conv(f"{name}.skip", concat_elu(torch.cat(skips, 1)), [0], [0])
        hidden = concat_elu(hidden) * self.kept.get(name, torch.ones(()))
        hidden = self.conv(f"{name}.conv_out", hidden, [-1, 0], left) + project(self.w, name, cond)
        half = x.shape[1]
        return x + hidden[:, :half] / (1 + torch.exp(-hidden[:, half:]))

    def streams(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """The last features of ul, of an image whose sides are multiples of 4."""
        around, left = range(-1, 2), range(-1, 1)
        marked = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        height, width = x.shape[-2:]
        image = F.pad(marked, (0, -width % 4, 0, -height % 4))
        u = [self.conv("u_above", image, [-2, -1], around)]
        start = self.conv("ul_above", image, [-1], around)
        ul = [start + self.conv("ul_left", image, [-1, 0], [-1])]
        for level in range(3):
            h = shrunk(cond, 2**level)
            for name in (f"encoder.{level}.{block}" for block in range(2)):
                u.append(self.block(f"u.{name}", u[-1], [], h, around))
                ul.append(self.block(f"ul.{name}", ul[-1], [u[-1]], h, left))
            if level < 2:
                name = f"down.{level}"
                u.append(self.conv(f"u.{name}", u[-1], [-1, 0], around)[:, :, ::2, ::2])
                ul.append(self.conv(f"ul.{name}", ul[-1], [-1, 0], left)[:, :, ::2, ::2])
        above, here = u.pop(), ul.pop()
        for level, num_blocks in [(2, 2), (1, 3), (0, 3)]:
            h = shrunk(cond, 2**level)
            for name in (f"decoder.{level}.{block}" for block in range(num_blocks)):
                above = self.block(f"u.{name}", above, [u.pop()], h, around)
                here = self.block(f"ul.{name}", here, [above, ul.pop()], h, left)
            if level:
                above = self.spread(f"u.up.{level - 1}", above, -1)
                here = self.spread(f"ul.up.{level - 1}", here, 0)
        assert not u
        assert not ul
        return here[..., :height, :width]

    def params(self, x: Tensor, cond: Tensor | None, colors: int) -> Tensor:
        features = F.elu(self.streams(x, cond))
        if colors == 1:
            return self.conv("head.out.conv", features, [0], [0])
        own = self.weight("head.present")[:, :, 0, 0]
        seen = look(x, colored(own, colors, "A")[:, :, None, None], [0], [0])
        hidden = self.conv("head.past", features, [0], [0]) + seen
        hidden = hidden + self.w["head.present.bias"][:, None, None]
        positive, negative = F.elu(hidden), F.elu(-hidden)
        width = hidden.shape[1]
        out = self.weight("head.out.conv")[:, :, 0, 0]
        halves = [colored(half, colors, "B") for half in (out[:, :width], out[:, width:])]
        params = look(positive, halves[0][:, :, None, None], [0], [0])
        params = params + look(negative, halves[1][:, :, None, None], [0], [0])
        return params + self.w["head.out.conv.bias"][:, None, None]


def shrunk(cond: Tensor | None, block: int) -> Tensor | None:
    """A map whose pixels are the means of blocks, zeros below and to the right counted in."""
    if cond is None or cond.ndim == 2:
        return cond
    height, width = cond.shape[-2:]
    whole = F.pad(cond, (0, -width % 4, 0, -height % 4))
    parts = [whole[:, :, i::block, j::block] for i in range(block) for j in range(block)]
    return torch.stack(parts).mean(0)


def pixelcnn_pp(w: Weights, x: Tensor, cond: Tensor | None, colors: int) -> Tensor:
    return PixelCNNPPReference(w, {}).params(x, cond, colors)


def build(
    kind: type[AbstractNetwork], channels: int, options: dict[str, object], **told: object
) -> AbstractNetwork:
    """In evaluation mode, every weight drawn, so that none hides behind a zero or a one."""
    network = kind(kind.options_type(**options), channels, NUM_PARAMS, **told).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.4)
    return network


def condition(kind: str, x: Tensor) -> Tensor | None:
    match kind:
        case "vector":
            return torch.randn(len(x), 2)
        case "map":
            return torch.randn(len(x), 2, *x.shape[2:])
    return None


LAYERS = {"num_layers": 2, "num_filters": 7, "num_hidden": 5}
RESNETS = {"num_resnet": 2, "num_hierarchies": 3, "num_filters": 4}
NETWORKS = [
    pytest.param(PixelCNN, pixelcnn, LAYERS, id="pixelcnn"),
    pytest.param(
        PixelCNN,
        pixelcnn,
        LAYERS | {"bottleneck": False, "first_kernel_size": 5, "kernel_size": 5},
        id="pixelcnn_plain",
    ),
    pytest.param(PixelCNN, pixelcnn, LAYERS | {"activation": "prelu"}, id="pixelcnn_prelu"),
    pytest.param(GatedPixelCNN, gated_pixelcnn, LAYERS | {"num_layers": 3}, id="gated"),
    pytest.param(PixelCNNPP, pixelcnn_pp, RESNETS, id="pp"),
    pytest.param(PixelCNNPP, pixelcnn_pp, RESNETS | {"weight_norm": False}, id="pp_unnormed"),
]


@pytest.mark.parametrize(
    ("channels", "orders_channels", "conditioning"),
    [(1, True, "none"), (3, True, "vector"), (3, False, "none"), (3, True, "map")],
)
@pytest.mark.parametrize(("kind", "reference", "options"), NETWORKS)
def test_a_network_computes_what_its_paper_says(
    kind: type[AbstractNetwork],
    reference: Reference,
    options: dict[str, object],
    channels: int,
    orders_channels: bool,
    conditioning: str,
):
    x = torch.rand(2, channels, 7, 9) * 2 - 1
    cond = condition(conditioning, x)
    sizes = {"orders_channels": orders_channels, "cond_channels": 0 if cond is None else 2}
    network = build(kind, channels, options, **sizes)
    with torch.no_grad():
        expected = reference(network.state_dict(), x, cond, network.colors)
        torch.testing.assert_close(network(x, cond), expected)


def inside(active: Tensor | Bordered) -> Tensor:
    """Maps without the border that they may have."""
    if isinstance(active, Tensor):
        return active
    left, right, above, below = active.border
    height, width = active.maps.shape[2:]
    return active.maps[:, :, above : height - below, left : width - right]


def test_dropout_silences_its_share_of_every_block_before_the_second_convolution():
    network = build(PixelCNNPP, 1, RESNETS | {"dropout": 0.25}).train()
    kept: Weights = {}
    for name, layer in network.named_modules():
        if name.endswith(".conv_out"):
            block = name.removesuffix(".conv_out")
            layer.register_forward_pre_hook(
                lambda _, x, block=block: kept.update({block: (inside(x[0]) != 0) / 0.75})
            )
    x = torch.rand(4, 1, 12, 12) * 2 - 1
    with torch.no_grad():
        params = network(x)
        expected = PixelCNNPPReference(network.state_dict(), kept).params(x, None, 1)
    torch.testing.assert_close(params, expected)
    assert len(kept) == 2 * (3 * 2 + 2 + 3 + 3)  # encoder and decoder of both streams
    factors = torch.cat([factor.flatten() for factor in kept.values()])
    silent = factors == 0
    torch.testing.assert_close(factors[~silent], torch.full_like(factors[~silent], 1 / 0.75))
    error = (0.25 * 0.75 / len(factors)) ** 0.5
    assert abs(silent.double().mean().item() - 0.25) < 4 * error
