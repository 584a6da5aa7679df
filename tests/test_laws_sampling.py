"""The cached walk is the network: same parameters, same images, from the same modules."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from variants import OPTIONS, Case, Options, case_of, cases, network_inputs, random_images, seeded

from pixelcnn_lit.models import AbstractLitModel
from pixelcnn_lit.networks import AbstractNetwork
from pixelcnn_lit.sampling import Likeliest, Replay, walk
from pixelcnn_lit.sampling.scans import CachedScan

ORDERED_AND_COUPLED = ["softmax", "logistic_mixture"]
RGB = cases(likelihoods=ORDERED_AND_COUPLED, channels=[3], conditionings=["none"])
LABELLED = [
    case
    for case in cases(likelihoods=ORDERED_AND_COUPLED, channels=[3], conditionings=["label"])
    if case.conditioning == "label"
]


class NaiveScan:
    """The reference: the whole network on the whole image, once per position."""

    def __init__(self, network: AbstractNetwork, x: Tensor, cond: Tensor | None) -> None:
        self.network = network
        self.x = torch.zeros_like(x)
        self.cond = cond

    def kind(self, row: int) -> int:
        return row

    def read_row(self, row: int) -> None:
        """Nothing belongs to a row."""

    def start_row(self, row: int) -> None:
        """Nothing is kept from row to row."""

    def params(self, row: int, column: int) -> Tensor:
        return self.network(self.x, self.cond)[:, :, row, column]

    def paint(self, row: int, column: int, x: Tensor) -> None:
        self.x[:, : x.shape[1], row, column] = x


def naively(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], Tensor]) -> Tensor:
    """What is drawn without a cache."""
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[walk.__module__], "CachedScan", NaiveScan)
        return draw()


def cached_params(model: AbstractLitModel, x: Tensor, cond: Tensor | None) -> Tensor:
    """Parameters (B, num_params, H, W) from a cached walk over the images ``x``.

    A network that orders the colours is asked anew after each of them, and the parameters of a
    colour are taken before it is painted.
    """
    network = model.network
    scan = CachedScan(network, torch.full_like(x, torch.nan), cond)
    params = x.new_empty(len(x), network.num_params, *x.shape[2:])
    groups = params.unflatten(1, (network.colors, -1))
    for row in range(x.shape[2]):
        scan.read_row(row)
        scan.start_row(row)
        for column in range(x.shape[3]):
            for color in range(network.colors):
                here = scan.params(row, column).unflatten(1, (network.colors, -1))
                groups[:, color, :, row, column] = here[:, color]
                painted = color + 1 if network.colors > 1 else x.shape[1]  # one float per colour
                scan.paint(row, column, x[:, :painted, row, column])
    return params


@torch.no_grad()
def assert_cached_equals_full(
    case: Case, size: tuple[int, int], tolerance: float, **options: object
) -> None:
    model = case.build(size, **options)
    images = random_images(model, 2)
    x, cond = network_inputs(model, images, case.cond(model, 2))
    expected = model.network(x, cond)
    torch.testing.assert_close(
        cached_params(model, x, cond), expected, atol=tolerance, rtol=tolerance
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", cases(likelihoods=ORDERED_AND_COUPLED), ids=str)
def test_cached_parameters_are_those_of_a_forward_pass(case: Case):
    assert_cached_equals_full(case, (6, 5), 1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [(1, 4), (4, 1), (3, 8), (8, 8), (10, 7)], ids=str)
@pytest.mark.parametrize("case", cases(likelihoods=["softmax"], conditionings=["map"]), ids=str)
def test_cached_parameters_are_those_of_a_forward_pass_at_any_size(
    case: Case, size: tuple[int, int]
):
    assert_cached_equals_full(case, size, 1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_cached_parameters_are_those_of_a_forward_pass_under_any_option(
    name: str, options: Options
):
    assert_cached_equals_full(case_of(name), (5, 6), 1e-9, **options)


@pytest.mark.parametrize("case", RGB, ids=str)
def test_cached_parameters_are_those_of_a_forward_pass_in_float32_too(case: Case):
    assert_cached_equals_full(case, (6, 5), 1e-4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", cases(conditionings=["none"]), ids=str)
def test_cached_and_naive_walks_choose_identical_images(
    case: Case, monkeypatch: pytest.MonkeyPatch
):
    model = case.build((4, 5))
    cond = case.cond(model, 3)

    def draw() -> Tensor:
        return model.sample(3, cond, temperature=0.8, generator=seeded())

    cached = draw()
    assert torch.equal(cached, naively(monkeypatch, draw))
    assert len(cached.unique()) > 1


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", LABELLED, ids=str)
def test_cached_and_naive_walks_choose_identical_guided_completions(
    case: Case, monkeypatch: pytest.MonkeyPatch
):
    model = case.build((4, 5), label_dropout=0.1)
    given = torch.rand(3, 4, 5) < 0.4
    images = random_images(model, 3)

    def draw() -> Tensor:
        cond = case.cond(model, 3)
        return model.sample(3, cond, guidance=2.0, given=given, images=images, generator=seeded())

    assert torch.equal(draw(), naively(monkeypatch, draw))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", cases(conditionings=["none"]), ids=str)
def test_a_greedy_image_is_a_fixed_point_of_teacher_forcing(case: Case):
    model = case.build((4, 5))
    x, cond = network_inputs(model, random_images(model, 2), case.cond(model, 2))
    greedy = walk(model.pixel_model, Likeliest(), len(x), cond=cond)
    with torch.no_grad():
        forced = model.pixel_model(greedy, cond)
    assert torch.equal(forced.mode.movedim(-1, 1), greedy.long())
    assert torch.equal(walk(model.pixel_model, Replay(greedy), len(x), cond=cond), greedy)


@pytest.mark.parametrize("case", RGB, ids=str)
def test_pixels_that_are_given_stay(case: Case):
    model = case.build((4, 5))
    given = torch.rand(4, 5) < 0.5
    images = random_images(model, 3)
    completed = model.sample(3, case.cond(model, 3), given=given, images=images)
    assert torch.equal(completed[..., given], images[..., given])
    assert not torch.equal(completed, images)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", RGB, ids=str)
def test_given_pixels_count_as_the_past_of_the_others(case: Case):
    """Keeping what was drawn and drawing the rest from the same numbers changes nothing."""
    model = case.build((4, 5))
    cond = case.cond(model, 3)
    drawn = model.sample(3, cond, generator=seeded())
    given = torch.rand(3, 4, 5) < 0.5
    again = model.sample(3, cond, given=given, images=drawn, generator=seeded())
    assert torch.equal(again, drawn)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", RGB, ids=str)
def test_a_seed_gives_the_same_images_however_they_are_split(case: Case):
    model = case.build((3, 4))
    cond = case.cond(model, 5)
    whole = model.sample(5, cond, generator=seeded())
    for batch_size in (1, 2, 5):
        split = model.sample(5, cond, generator=seeded(), batch_size=batch_size)
        assert torch.equal(split, whole)
    assert not torch.equal(model.sample(5, cond, generator=seeded(1)), whole)
    assert len(whole.unique(dim=0)) == 5
