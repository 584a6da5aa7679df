"""Causality: the parameters of a pixel depend on its past only, and on all of its past."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from variants import OPTIONS, Case, Options, case_of, cases, network_inputs, random_images

from pixelcnn_lit.models import AbstractLitModel

pytestmark = pytest.mark.usefixtures("float64")

# the network orders the colours, the likelihood does; a network sees nothing else of a likelihood
BOTH_ORDERS = ("softmax", "logistic_mixture")
SIZES = [(5, 7), (8, 8), (17, 17), (30, 10)]


def some_positions(height: int, width: int, *, most: int = 40) -> list[tuple[int, int]]:
    """The corners, and others of every parity in between."""
    everywhere = [(row, column) for row in range(height) for column in range(width)]
    step = max(1, len(everywhere) // most) | 1  # odd
    return sorted({*everywhere[::step], everywhere[-1], (0, width - 1), (height - 1, 0)})


def jacobian(
    model: AbstractLitModel, x: Tensor, cond: Tensor | None, positions: list[tuple[int, int]]
) -> Tensor:
    """How much the parameters of each colour at each position vary with the image.

    Returns:
        |∂(w·params)/∂x| (positions, colours, C, H, W) with random weights w of the parameters of a
        colour, which are a group where the network orders the colours and all of them elsewhere.
        It is exactly 0 where there is no path; where there is one, only by a miracle.
    """
    copies = len(positions)
    x = x.expand(copies, *x.shape[1:]).clone().requires_grad_()
    cond = None if cond is None else cond.expand(copies, *cond.shape[1:])
    params = model.network(x, cond).unflatten(1, (model.network.colors, -1))
    rows, columns = torch.tensor(positions).T
    here = params[torch.arange(copies), :, :, rows, columns]  # (positions, colours, params)
    mixed = here @ torch.randn(here.shape[-1])
    slopes = [
        torch.autograd.grad(mixed[:, color].sum(), x, retain_graph=True)[0]
        for color in range(mixed.shape[1])
    ]
    return torch.stack(slopes, 1).abs()


def past(
    model: AbstractLitModel, positions: list[tuple[int, int]], image_shape: tuple[int, int, int]
) -> Tensor:
    """What the parameters may see: bool (positions, colours, C, H, W), by counting.

    The values of an image are numbered in raster order, the colours of a pixel innermost.
    """
    channels, height, width = image_shape
    number = torch.arange(height * width * channels).view(height, width, channels)
    first = torch.stack([number[row, column, 0] for row, column in positions])
    own = first[:, None] + torch.arange(model.network.colors)
    return number.movedim(-1, 0) < own[..., None, None, None]


def inputs(case: Case, model: AbstractLitModel) -> tuple[Tensor, Tensor | None]:
    return network_inputs(model, random_images(model, 1), case.cond(model, 1))


@pytest.mark.parametrize(
    "case",
    [
        *cases(likelihoods=BOTH_ORDERS),
        *cases(likelihoods=BOTH_ORDERS, channels=[2, 4], conditionings=["none"]),
    ],
    ids=str,
)
def test_nothing_but_the_past_moves_the_parameters(case: Case):
    model = case.build((5, 7))
    positions = [(row, column) for row in range(5) for column in range(7)]
    slopes = jacobian(model, *inputs(case, model), positions)
    assert slopes[~past(model, positions, model.image_shape)].max() == 0
    assert slopes[past(model, positions, model.image_shape)].max() > 0


@pytest.mark.parametrize("size", SIZES[1:], ids=str)
@pytest.mark.parametrize("case", cases(likelihoods=["softmax"], conditionings=["none"]), ids=str)
def test_nothing_but_the_past_moves_the_parameters_at_any_size(case: Case, size: tuple[int, int]):
    model = case.build(size)
    positions = some_positions(*size, most=24)
    slopes = jacobian(model, *inputs(case, model), positions)
    assert slopes[~past(model, positions, model.image_shape)].max() == 0


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_nothing_but_the_past_moves_the_parameters_under_any_option(name: str, options: Options):
    case = case_of(name)
    model = case.build((7, 6), **options)
    positions = some_positions(7, 6)
    slopes = jacobian(model, *inputs(case, model), positions)
    assert slopes[~past(model, positions, model.image_shape)].max() == 0


@pytest.mark.parametrize("case", cases(likelihoods=BOTH_ORDERS), ids=str)
def test_the_whole_past_is_seen_but_for_the_blind_spot(case: Case):
    size = (9, 8)
    model = case.build(size, **case.variant.deep)
    see_everything(model)
    positions = some_positions(*size)
    x = torch.rand(1, *model.image_shape)
    _, cond = inputs(case, model)
    seen = jacobian(model, x, cond, positions) != 0
    expected = past(model, positions, model.image_shape)
    if case.variant.blind_spot:
        expected &= ~blind_spot(positions, size)[:, None, None]
    torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize("case", cases(likelihoods=["softmax"], conditionings=["none"]), ids=str)
def test_at_the_middle_of_20x20_plain_pixelcnn_misses_21_of_210_pixels_and_others_none(
    case: Case,
):
    model = case.build((20, 20), **case.variant.deep)
    see_everything(model)
    x = torch.rand(1, *model.image_shape)
    _, cond = inputs(case, model)
    seen = (jacobian(model, x, cond, [(10, 10)]) != 0)[0]
    past_pixels = seen[..., :10, :].sum((-2, -1)) + seen[..., 10, :10].sum(-1)
    assert (210 - past_pixels == (21 if case.variant.blind_spot else 0)).all()


def see_everything(model: AbstractLitModel) -> None:
    """Make all weights positive and small: no path cancels another, no ReLU or gate stays shut."""
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.uniform_(0.5, 1).div_(parameter[0].numel())


def blind_spot(positions: list[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """What a 7×7 kernel followed by any number of 3×3 kernels never sees (positions, H, W).

    A step up leads at most one column to the right, the first step three.
    """
    rows, columns = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    own_row, own_column = torch.tensor(positions).T[..., None, None]
    return (rows < own_row) & (columns - own_column > own_row - rows + 2)
