"""Networks as functions: any size in, parameters out, and what their options leave unchanged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.networks.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNOptions, gate
from pixelcnn_lit.networks.pixelcnn import PixelCNN, PixelCNNOptions
from pixelcnn_lit.networks.pixelcnn_pp import PixelCNNPP, PixelCNNPPOptions

pytestmark = pytest.mark.usefixtures("float64")

Build = Callable[..., AbstractNetwork]


def pixelcnn(in_channels: int, num_params: int, **options: object) -> PixelCNN:
    known = {name: options.pop(name) for name in ("activation", "bottleneck") if name in options}
    sizes = PixelCNNOptions(num_layers=2, num_filters=5, num_hidden=6, **known)
    return PixelCNN(sizes, in_channels, num_params, **options)


def gated(in_channels: int, num_params: int, **options: object) -> GatedPixelCNN:
    sizes = GatedPixelCNNOptions(num_layers=2, num_filters=5, num_hidden=6)
    return GatedPixelCNN(sizes, in_channels, num_params, **options)


def pp(in_channels: int, num_params: int, **options: object) -> PixelCNNPP:
    known = {name: options.pop(name) for name in ("weight_norm", "dropout") if name in options}
    sizes = PixelCNNPPOptions(num_resnet=1, num_hierarchies=3, num_filters=5, **known)
    return PixelCNNPP(sizes, in_channels, num_params, **options)


NETWORKS = pytest.mark.parametrize("build", [pixelcnn, gated, pp])


@NETWORKS
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.booleans())
@settings(max_examples=8, deadline=None)
def test_images_of_any_size_and_number_of_colours_give_parameters_for_every_pixel(
    build: Build, channels: int, height: int, width: int, orders_channels: bool
):
    network = build(channels, 2 * channels, orders_channels=orders_channels)
    params = network(torch.randn(2, channels, height, width))
    assert params.shape == (2, 2 * channels, height, width)
    assert params.isfinite().all()


@NETWORKS
def test_rows_that_follow_change_nothing_above_them(build: Build):
    """So that padding below to whole blocks is harmless."""
    network = build(1, 3).eval()
    x = torch.randn(2, 1, 11, 6)
    for height in (3, 4, 7):
        torch.testing.assert_close(network(x[:, :, :height]), network(x)[:, :, :height])


@NETWORKS
def test_the_images_of_a_batch_do_not_meet(build: Build):
    network = build(1, 3).eval()
    x = torch.randn(3, 1, 5, 6)
    alone = torch.cat([network(image[None]) for image in x])
    torch.testing.assert_close(network(x), alone)


@NETWORKS
def test_a_network_that_orders_colours_needs_as_many_parameters_for_each(build: Build):
    with pytest.raises(ValueError, match="num_params=4: a network that orders 3 colours"):
        build(3, 4, orders_channels=True)


@NETWORKS
def test_masks_are_no_weights(build: Build):
    network = build(3, 6, orders_channels=True)
    assert [name for name in network.state_dict() if "mask" in name] == []
    assert [name for name, _ in network.named_buffers() if "mask" in name] != []


@NETWORKS
def test_a_network_survives_a_move_to_another_precision(build: Build):
    network = build(3, 6, orders_channels=True).eval()
    x = torch.randn(1, 3, 4, 4)
    expected = network(x)
    torch.testing.assert_close(network.float()(x.float()).double(), expected, atol=1e-4, rtol=1e-3)


def test_weight_norm_changes_the_parametrisation_and_not_the_function():
    built = []
    for weight_norm in (True, False):
        torch.manual_seed(0)
        built.append(pp(1, 3, weight_norm=weight_norm).eval())
    x = torch.randn(2, 1, 6, 5)
    torch.testing.assert_close(built[0](x), built[1](x))
    counts = [sum(p.numel() for p in network.parameters()) for network in built]
    assert counts[0] > counts[1]


def test_dropout_acts_in_training_only():
    network = pp(1, 3, dropout=0.5)
    x = torch.randn(2, 1, 6, 5)
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
    without = pp(1, 3, dropout=0.0)
    assert torch.equal(without(x), without(x))


def test_the_gate_is_tanh_of_one_half_times_sigmoid_of_the_other():
    wide = torch.randn(2, 6, 4)
    expected = torch.tanh(wide[:, :3]) / (1 + torch.exp(-wide[:, 3:]))
    torch.testing.assert_close(gate(wide), expected)


def test_paper_blocks_are_1x1_3x3_1x1_around_a_stream_twice_as_wide():
    block = PixelCNN(PixelCNNOptions(num_layers=1, num_filters=8, num_hidden=4), 1, 2).blocks[0]
    shapes = [tuple(p.shape) for p in block.parameters() if p.ndim == 4]
    assert sorted(shapes) == sorted([(8, 16, 1, 1), (8, 8, 2, 3), (16, 8, 1, 1)])


@pytest.mark.parametrize("bottleneck", [True, False])
def test_prelu_learns_a_slope_before_every_convolution_but_the_first(bottleneck: bool):
    network = pixelcnn(1, 2, activation="prelu", bottleneck=bottleneck)
    slopes = [layer for layer in network.modules() if isinstance(layer, torch.nn.PReLU)]
    assert len(slopes) == 2 * (3 if bottleneck else 1) + 3


WRONG_CONDS = [
    (0, (2, 4), r"cond of shape \(2, 4\): this network takes None"),
    (4, None, r"cond of shape None: this network takes \(2, 4\)"),
    (4, (2, 3), r"cond of shape \(2, 3\): this network takes \(2, 4\)"),
    (4, (1, 4), r"cond of shape \(1, 4\)"),
    (4, (2, 4, 5), r"cond of shape \(2, 4, 5\)"),
    (4, (2, 4, 5, 5), r"a map as large as the image, \(2, 4, 5, 6\)"),
]


@NETWORKS
@pytest.mark.parametrize(("size", "shape", "message"), WRONG_CONDS)
def test_a_condition_of_the_wrong_size_is_refused(
    build: Build, size: int, shape: tuple[int, ...] | None, message: str
):
    network = build(1, 2, cond_channels=size)
    cond = None if shape is None else torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        network(torch.zeros(2, 1, 5, 6), cond)


@NETWORKS
def test_a_vector_acts_like_a_map_that_is_the_same_everywhere(build: Build):
    network = build(1, 2, cond_channels=3).eval()
    x, cond = torch.randn(2, 1, 4, 8), torch.randn(2, 3)
    everywhere = cond[:, :, None, None].expand(2, 3, 4, 8)
    torch.testing.assert_close(network(x, cond), network(x, everywhere))
    assert not torch.allclose(network(x, cond), network(x, cond + 1))


@NETWORKS
def test_floats_of_a_colour_belong_to_its_group(build: Build):
    """An input that gives several floats per colour: a colour's parameters see no later ones."""
    network = build(6, 9, num_colors=3, orders_channels=True).eval()
    assert network.colors == 3
    x = torch.randn(1, 6, 4, 5)
    params = network(x).unflatten(1, (3, 3))[0, :, :, 2, 2]
    for color in range(3):
        changed = x.clone()
        changed[:, 2 * color : 2 * color + 2, 2, 2] += 1
        again = network(changed).unflatten(1, (3, 3))[0, :, :, 2, 2]
        moved = (again != params).any(1).tolist()
        assert moved == [other > color for other in range(3)]
