"""Layers against a slow loop over every position, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pixelcnn_lit.layers import (
    CausalConv2d,
    Condition,
    Downsample,
    ImageConv2d,
    Output,
    Pointwise,
    RasterCache,
    Upsample,
    color_groups,
    color_mask,
    kernel_mask,
)
from pixelcnn_lit.layers.causal import AbstractConv2d

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    """Walks write into their caches in place."""
    with torch.no_grad():
        yield


def slow_convolution(conv: AbstractConv2d, x: Tensor) -> Tensor:
    """Tap by tap at every position, zeros beyond the edge."""
    height, width = x.shape[2:]
    out = conv.bias[None, :, None, None].expand(len(x), -1, height, width).clone()
    for i, j in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
        for k, row in enumerate(conv.rows):
            for m, column in enumerate(conv.columns):
                if 0 <= i + row < height and 0 <= j + column < width:
                    tap = conv.kernel()[:, :, k, m]
                    out[:, :, i, j] += x[:, :, i + row, j + column] @ tap.T
    return out


offsets = st.tuples(st.integers(-3, 0), st.integers(0, 1), st.integers(-3, 0), st.integers(0, 3))


@given(offsets, st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=12, deadline=None)
def test_a_convolution_reads_the_offsets_it_is_given(
    extent: tuple[int, int, int, int], height: int, width: int
):
    top, bottom, left, right = extent
    rows, columns = range(top, max(bottom, top + 1)), range(left, max(right, left + 1))
    conv = CausalConv2d(2, 3, rows, columns)
    x = torch.randn(2, 2, height, width)
    torch.testing.assert_close(conv(x), slow_convolution(conv, x))


def test_a_masked_tap_is_as_if_it_were_not_there():
    mask = kernel_mask(range(-1, 1), range(-1, 2), torch.eye(3, 2, dtype=torch.bool))
    conv = CausalConv2d(2, 3, range(-1, 1), range(-1, 2), mask=mask)
    x = torch.randn(1, 2, 4, 4)
    before = conv(x)
    conv.weight[~conv.mask] = 1e6
    torch.testing.assert_close(conv(x), before)
    assert "mask" not in conv.state_dict()


# offsets of the convolutions the networks build: vertical stack, horizontal stack, streams
VERTICAL = [(range(-2, 1), range(-2, 3)), (range(-1, 1), range(-1, 2)), (range(1), range(-1, 2))]
HORIZONTAL = [
    (range(1), range(-2, 1)),
    (range(-1, 1), range(-1, 1)),
    (range(-2, 1), range(-1, 1)),
    (range(-3, 1), range(-3, 4)),
]


def past_only(rows: range, columns: range) -> Tensor | None:
    """The mask of a kernel that would otherwise read to the right on its own row."""
    center = torch.ones(3, 2, dtype=torch.bool)
    return kernel_mask(rows, columns, center) if columns.stop > 1 else None


def blank_cache(batch: int, height: int, width: int, *, num_hierarchies: int = 1) -> RasterCache:
    canvas = torch.zeros(batch, 1, height, width)
    return RasterCache.begin(canvas, margin=4, num_hierarchies=num_hierarchies)


@pytest.mark.parametrize(("rows", "columns"), VERTICAL)
def test_a_vertical_convolution_walked_by_rows_is_the_whole_one(rows: range, columns: range):
    conv = CausalConv2d(2, 3, rows, columns)
    x = torch.randn(2, 2, 5, 4)
    cache = blank_cache(2, 5, 4)
    walked = []
    for row in range(5):
        cache.stand(row, None)
        walked.append(conv(x[:, :, row].movedim(1, 2).flatten(0, 1), cache).unflatten(0, (2, 4)))
    torch.testing.assert_close(torch.stack(walked, 1).movedim(-1, 1), conv(x))


@pytest.mark.parametrize(("rows", "columns"), HORIZONTAL)
def test_a_horizontal_convolution_walked_by_pixels_is_the_whole_one(rows: range, columns: range):
    conv = CausalConv2d(2, 3, rows, columns, mask=past_only(rows, columns))
    x = torch.randn(2, 2, 5, 4)
    torch.testing.assert_close(walk_pixels(conv, x), conv(x))


@pytest.mark.parametrize(("rows", "columns"), HORIZONTAL)
def test_a_pixel_may_be_corrected_before_the_walk_moves_on(rows: range, columns: range):
    """Colours come one by one: the same position is computed again, and the last value counts."""
    conv = CausalConv2d(2, 3, rows, columns, mask=past_only(rows, columns))
    x = torch.randn(2, 2, 5, 4)
    torch.testing.assert_close(walk_pixels(conv, x, mistakes=2), conv(x))


def walk_pixels(conv: CausalConv2d, x: Tensor, mistakes: int = 0) -> Tensor:
    batch, _, height, width = x.shape
    cache = blank_cache(batch, height, width)
    walked = torch.empty(batch, conv.weight.shape[0], height, width)
    for row in range(height):
        cache.start_row(row)
        for column in range(width):
            cache.stand(row, column)
            for _ in range(mistakes):
                conv(torch.randn(batch, x.shape[1]), cache)
            walked[:, :, row, column] = conv(x[:, :, row, column], cache)
    return walked


@pytest.mark.parametrize(("rows", "columns"), [*VERTICAL[:1], (range(-3, 0), range(-3, 4))])
def test_the_image_layer_of_a_vertical_stack_reads_what_has_been_painted(
    rows: range, columns: range
):
    rows = range(rows.start, 0)
    conv = ImageConv2d(2, 3, rows, columns)
    x = torch.randn(2, 2, 5, 4)
    cache = RasterCache.begin(torch.zeros_like(x), margin=3)
    for row in range(5):
        cache.start_row(row)
        here = conv(torch.full((0,), torch.nan), cache).unflatten(0, (2, 4)).movedim(-1, 1)
        torch.testing.assert_close(here, conv(x)[:, :, row])
        for column in range(4):
            cache.paint(column, x[:, :, row, column])


def test_the_image_layer_of_a_horizontal_stack_reads_the_colours_painted_so_far():
    groups = color_groups(4, 2)
    center = color_mask("A", torch.arange(2), groups)
    mask = kernel_mask(range(-2, 1), range(-2, 3), center)
    conv = ImageConv2d(2, 4, range(-2, 1), range(-2, 3), mask=mask)
    x = torch.randn(2, 2, 5, 4)
    expected = conv(x)
    cache = RasterCache.begin(torch.full_like(x, 7.0), margin=2)
    for row in range(5):
        cache.start_row(row)
        for column in range(4):
            cache.stand(row, column)
            for color in (0, 1):
                here = conv(torch.full((0,), torch.nan), cache)
                own = groups == color
                torch.testing.assert_close(here[:, own], expected[:, own, row, column])
                cache.paint(column, x[:, : color + 1, row, column])


def test_pointwise_is_a_matrix_product_at_every_position_and_masked_off_elsewhere():
    mask = torch.tensor([[True, False], [True, True], [False, True]])
    layer = Pointwise(2, 3, mask=mask)
    x = torch.randn(2, 2, 3, 4)
    weight = layer.weight[:, :, 0, 0] * mask
    expected = (x.movedim(1, -1) @ weight.T + layer.bias).movedim(-1, 1)
    torch.testing.assert_close(layer(x), expected)
    cache = blank_cache(2, 3, 4)
    torch.testing.assert_close(layer(x[:, :, 1, 2], cache), expected[:, :, 1, 2])


def test_the_output_is_computed_in_full_precision_under_autocast():
    layer = Output(8, 4).float()
    x = torch.randn(2, 8, 3, 3, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        params = layer(x.bfloat16())
    torch.testing.assert_close(params, layer(x.bfloat16().float()))
    assert params.dtype == torch.float32


def slow_downsample(layer: Downsample, x: Tensor) -> Tensor:
    """Every other position of the convolution without stride."""
    twin = CausalConv2d(*reversed(layer.weight.shape[:2]), layer.rows, layer.columns)
    twin.load_state_dict(layer.state_dict())
    return slow_convolution(twin, x)[:, :, ::2, ::2]


def slow_upsample(layer: Upsample, x: Tensor) -> Tensor:
    """Every coarse value spread over two rows and its columns, what falls outside dropped."""
    batch, _, height, width = x.shape
    out = layer.bias[None, :, None, None].expand(batch, -1, 2 * height, 2 * width).clone()
    for i, j in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
        for row in range(2):
            for m, column in enumerate(layer.columns):
                if 0 <= 2 * j + column < 2 * width:
                    tap = layer.weight[:, :, row, m]
                    out[:, :, 2 * i + row, 2 * j + column] += x[:, :, i, j] @ tap
    return out


@pytest.mark.parametrize("columns", [range(-1, 2), range(-1, 1)])
def test_downsampling_keeps_every_other_position(columns: range):
    layer = Downsample(2, 3, range(-1, 1), columns)
    x = torch.randn(2, 2, 6, 4)
    torch.testing.assert_close(layer(x), slow_downsample(layer, x))


@pytest.mark.parametrize("columns", [range(-1, 2), range(2)])
def test_upsampling_spreads_a_value_over_the_block_that_begins_there(columns: range):
    layer = Upsample(2, 3, columns)
    x = torch.randn(2, 2, 3, 2)
    torch.testing.assert_close(layer(x), slow_upsample(layer, x))


def test_resampling_by_rows_is_the_whole_one_and_sleeps_on_odd_rows():
    down, up = Downsample(2, 3, range(-1, 1), range(-1, 2)), Upsample(3, 2, range(-1, 2))
    x = torch.randn(2, 2, 6, 4)
    cache = blank_cache(2, 6, 4, num_hierarchies=2)
    expected = up(down(x))
    for row in range(6):
        cache.stand(row, None)
        below = down(x[:, :, row].movedim(1, 2).flatten(0, 1), cache)
        assert (below is None) == (row % 2 == 1)
        here = up(below, cache).unflatten(0, (2, 4)).movedim(-1, 1)
        torch.testing.assert_close(here, expected[:, :, row])


def test_resampling_by_pixels_is_the_whole_one_and_wakes_at_one_in_four():
    down, up = Downsample(2, 3, range(-1, 1), range(-1, 1)), Upsample(3, 2, range(2))
    x = torch.randn(2, 2, 6, 4)
    cache = blank_cache(2, 6, 4, num_hierarchies=2)
    expected = up(down(x))
    for row in range(6):
        cache.start_row(row)
        for column in range(4):
            cache.stand(row, column)
            for _ in range(2):  # a position may be computed again
                below = down(x[:, :, row, column], cache)
                assert (below is not None) == (row % 2 == 0 and column % 2 == 0)
                here = up(below, cache)
            torch.testing.assert_close(here, expected[:, :, row, column])


@pytest.mark.parametrize("cond_shape", [(2, 5), (2, 5, 3, 4)])
def test_a_condition_is_the_same_linear_map_on_the_image_and_on_a_walk(cond_shape: tuple[int]):
    layer = Condition(5, 2)
    cond = torch.randn(cond_shape)
    on_image = cond if cond.ndim == 4 else cond[:, :, None, None].expand(-1, -1, 3, 4)
    expected = torch.einsum("od, bdhw -> bohw", layer.weight, on_image)
    torch.testing.assert_close(layer(cond).expand_as(expected), expected)
    by_rows, by_pixels = blank_cache(2, 3, 4), blank_cache(2, 3, 4)
    present = cond if cond.ndim == 2 else torch.empty(2, 4, 5)  # a walk reads a map row by row
    for row in range(3):
        if cond.ndim == 4:
            present.copy_(cond[:, :, row].movedim(1, -1))
        by_rows.start_row(row)
        here = layer(present, by_rows).unflatten(0, (2, 4)).movedim(-1, 1)
        torch.testing.assert_close(here, expected[:, :, row])
        by_pixels.start_row(row)
        for column in range(4):
            by_pixels.stand(row, column)
            torch.testing.assert_close(layer(present, by_pixels), expected[:, :, row, column])


@given(st.integers(1, 5), st.integers(0, 12))
def test_features_fall_into_consecutive_groups_of_nearly_equal_size(colors: int, more: int):
    groups = color_groups(colors + more, colors)
    sizes = groups.bincount(minlength=colors)
    assert groups.tolist() == sorted(groups.tolist())
    assert 0 <= sizes.max() - sizes.min() <= 1
    assert sizes.min() >= 1


def test_mask_a_hides_the_own_colour_and_mask_b_shows_it():
    groups = torch.tensor([0, 1, 2])
    mask_a, mask_b = color_mask("A", groups, groups), color_mask("B", groups, groups)
    assert mask_a.tolist() == [[False] * 3, [True, False, False], [True, True, False]]
    assert torch.equal(mask_b, mask_a | torch.eye(3, dtype=torch.bool))


def test_28_of_the_49_taps_of_a_7x7_kernel_are_computed_and_24_of_them_open_before_the_centre():
    mask = kernel_mask(range(-3, 1), range(-3, 4), torch.zeros(1, 1, dtype=torch.bool))
    assert mask.numel() == 28
    assert mask.sum() == 24
    assert not mask[..., -1, 3:].any()
