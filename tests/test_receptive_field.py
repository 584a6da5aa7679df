"""What a pixel sees, as the command draws and tells it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from variants import case_of

from pixelcnn_lit.commands.receptive_field import draw
from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.drawing.receptive_field import describe, picture, receptive_field
from pixelcnn_lit.networks.gated_pixelcnn import GatedPixelCNN, GatedPixelCNNOptions
from pixelcnn_lit.networks.pixelcnn import PixelCNN, PixelCNNOptions
from pixelcnn_lit.networks.pixelcnn_pp import PixelCNNPP, PixelCNNPPOptions


def test_plain_pixelcnn_has_a_blind_spot_of_21_pixels():
    field = receptive_field(
        PixelCNN(PixelCNNOptions(num_filters=4, num_hidden=4), 1, 2), [20, 20], [10, 10]
    )
    assert describe(field) == ["the pixel at [10, 10] misses 21 of 210 past pixels"]


def test_every_colour_sees_its_own_earlier_colours_and_all_past_pixels():
    network = GatedPixelCNN(GatedPixelCNNOptions(num_layers=8, num_filters=6, num_hidden=6), 3, 12)
    assert describe(receptive_field(network, [8, 8], [4, 3])) == [
        "red at [4, 3] misses 0 of 35 past pixels",
        "green at [4, 3] misses 0 of 35 past pixels and sees its own red",
        "blue at [4, 3] misses 0 of 35 past pixels and sees its own red, green",
    ]


@pytest.mark.parametrize("model", ["pixelcnn", "gated", "pp", "autoencoder", "conv_autoencoder"])
def test_images_have_two_sides(model: str):
    config = compose_config("receptive_field", [f"model={model}", "data.image_size=[20]"])
    with pytest.raises(ValueError, match=r"image_size=\[20\] must be \[height, width\]"):
        draw(config)


def test_a_network_that_orders_no_colours_looks_once_per_pixel():
    options = PixelCNNPPOptions(num_resnet=1, num_hierarchies=2, num_filters=4)
    network = PixelCNNPP(options, 3, 10, orders_channels=False)
    field = receptive_field(network, [5, 7], [4, 6])
    assert field.slopes.shape == (1, 3, 5, 7)
    assert not field.seen[0, :, 4, 6].any()


def test_a_shallow_network_misses_what_is_far():
    network = PixelCNN(
        PixelCNNOptions(num_layers=1, num_filters=4, num_hidden=4, first_kernel_size=3), 1, 2
    )
    field = receptive_field(network, [9, 9], [8, 8])
    rows, columns = field.seen[0, 0].nonzero().T
    assert (rows.min(), columns.min()) == (6, 6)  # two layers, one step each


def test_measuring_leaves_the_network_and_the_random_numbers_as_they_were():
    network = case_of("pp").build((5, 5)).network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    receptive_field(network, [5, 5], [2, 2])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_leak_is_not_drawn_but_reported():
    network = PixelCNN(PixelCNNOptions(num_layers=1, num_filters=4, num_hidden=4), 1, 2)
    network.input.mask.fill_(True)
    with pytest.raises(RuntimeError, match="not causal"):
        receptive_field(network, [5, 5], [2, 2])


def test_the_picture_has_a_panel_for_every_pair_of_colours():
    network = GatedPixelCNN(GatedPixelCNNOptions(num_layers=1, num_filters=6, num_hidden=6), 3, 12)
    figure = picture(receptive_field(network, [4, 4], [2, 2]), "GatedPixelCNN")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["red ← red", "red ← green", "red ← blue"]
    assert len(titles) == 9


def test_a_position_outside_is_refused():
    network = PixelCNN(PixelCNNOptions(num_layers=1, num_filters=4, num_hidden=4), 1, 2)
    with pytest.raises(ValueError, match=r"position=\[5, 0\]: from \[0, 0\] to \[4, 3\]"):
        receptive_field(network, [5, 4], [5, 0])


def test_the_command_draws_a_picture_and_tells_what_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """In the row d above, columns up to d + 2 to the right are seen: 3 + 2 + 1 of 8×8 are not."""
    overrides = ["model=pixelcnn", "size=small", "position=[4,1]"]
    overrides.append(f"output={tmp_path / 'field.png'}")
    draw(compose_config("receptive_field", overrides))
    assert "the pixel at [4, 1] misses 6 of 33 past pixels" in capsys.readouterr().out
    with Image.open(tmp_path / "field.png") as image:
        assert min(image.size) > 300


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("position=[8,0]", "position=[8, 0]: from [0, 0] to [7, 7] in images of 8x8"),
        ("position=[1]", "position=[1]: [row, column]"),
        ("output=field.txt", "output=field.txt: a file that ends in .png or .svg or .pdf"),
    ],
)
def test_the_command_refuses_in_one_line(override: str, message: str):
    config = compose_config("receptive_field", ["size=small", override])
    with pytest.raises(ValueError, match=re.escape(message)):
        draw(config)
