"""What is fused equals the plain formulas, in values and in gradients."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from variants import OPTIONS, Case, case_of, cases, random_images

from pixelcnn_lit.layers import RESNET_ACTIVATIONS, fused, kernels
from pixelcnn_lit.layers.fused import Border, Bordered
from pixelcnn_lit.networks.gated_pixelcnn import gate as plain_gate

BORDERS: list[Border] = [(1, 1, 1, 0), (2, 0, 0, 3), (0, 0, 0, 0)]
DTYPES = {torch.float32: 1e-6, torch.float64: 1e-14}
"""With the largest error of a value of the size of 1."""
NETWORKS = [*cases(likelihoods=["softmax"]), *(case_of(name) for name, _ in OPTIONS)]

COMPILER = os.environ.get("CXX", "c++")

pytestmark = pytest.mark.skipif(not shutil.which(COMPILER), reason=f"there is no {COMPILER}")


def randn(*shape: int, dtype: torch.dtype = torch.float64, spread: float = 3.0) -> Tensor:
    """Maps (B, F, H, W), some of whose values are 0."""
    x = spread * torch.randn(shape, dtype=dtype)
    x[..., 0, 0] = 0
    return x.requires_grad_()


def assert_same(
    computed: Tensor | Sequence[Tensor],
    expected: Tensor | Sequence[Tensor],
    inputs: Sequence[Tensor],
    error: float,
) -> None:
    """Values, and gradients of a sum of all of them with random weights."""
    outcomes = [[x] if isinstance(x, Tensor) else list(x) for x in (computed, expected)]
    weights = [torch.randn_like(x) for x in outcomes[1]]
    gradients = [
        torch.autograd.grad(sum((x * w).sum() for x, w in zip(xs, weights, strict=True)), inputs)
        for xs in outcomes
    ]
    for one, other in zip(
        (*outcomes[0], *gradients[0]), (*outcomes[1], *gradients[1]), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=10 * error, atol=10 * error)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("name", RESNET_ACTIVATIONS)
def test_an_activation_of_a_sum_within_borders_is_the_plain_formula(
    name: str, border: Border, dtype: torch.dtype
):
    activation = RESNET_ACTIVATIONS[name]
    x = randn(2, 5, 4, 6, dtype=dtype)
    others = [(1, 0, 1, 0), (0, 2, 1, 1)]
    more = [
        randn(2, 5, 4 + above + below, 6 + left + right, dtype=dtype)
        for left, right, above, below in others
    ]
    for num_parts in range(3):
        parts = [Bordered(m, b) for m, b in zip(more, others, strict=True)][:num_parts]
        total = x + sum(inside(part) for part in parts)
        active = fused.activate(x, activation, border, *parts)
        assert active.border == border
        expected = F.pad(activation(total), border)
        assert_same(active.maps, expected, [x, *more[:num_parts]], DTYPES[dtype])


def inside(active: Bordered) -> Tensor:
    left, right, above, below = active.border
    height, width = active.maps.shape[2:]
    return active.maps[:, :, above : height - below, left : width - right]


@pytest.mark.parametrize("name", RESNET_ACTIVATIONS)
@pytest.mark.parametrize("dropout", [0.25, 0.3, 0.001])
def test_dropout_drops_single_values_and_their_gradients(name: str, dropout: float):
    border = (0, 1, 1, 0)
    x = torch.randn(8, 4, 20, 20, dtype=torch.float64, requires_grad=True)
    dropped = fused.activate(x, RESNET_ACTIVATIONS[name], border, dropout=dropout)
    whole = F.pad(RESNET_ACTIVATIONS[name](x), border)
    factor = (dropped.maps != 0).double() / (1 - round(dropout * 2**16) / 2**16)
    assert_same(dropped.maps, whole * factor, [x], 1e-14)
    silent = (inside(dropped) == 0)[inside(Bordered(whole, border)) != 0].double()
    deviation = (dropout * (1 - dropout) / len(silent)) ** 0.5
    assert abs(silent.mean().item() - dropout) < 4 * deviation
    if dropout > 0.1:  # a row, an image, a half and a call have numbers of their own
        marks = inside(dropped) == 0
        assert not torch.equal(*marks.chunk(2, 1))
        assert not torch.equal(marks[:, :, 1:], marks[:, :, :-1])
        assert not torch.equal(marks[1:], marks[:-1])
        again = fused.activate(x, RESNET_ACTIVATIONS[name], border, dropout=dropout)
        assert not torch.equal(inside(again) == 0, marks)


def test_dropout_is_decided_by_torchs_generator():
    x = randn(2, 4, 5, 5)

    def draw() -> Tensor:
        torch.manual_seed(1)
        return fused.activate(x, RESNET_ACTIVATIONS["elu"], BORDERS[0], dropout=0.5).maps

    assert torch.equal(draw(), draw())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("name", RESNET_ACTIVATIONS)
def test_a_gate_and_the_activation_after_it_are_the_plain_formulas(
    name: str, border: Border, dtype: torch.dtype
):
    activation = RESNET_ACTIVATIONS[name]
    x, wide = randn(2, 5, 4, 6, dtype=dtype), randn(2, 10, 4, 6, dtype=dtype)
    y, active = fused.gate(x, wide, activation, border)
    plain = x + F.glu(wide, 1)
    of_plain = F.pad(activation(plain), border)
    assert_same([y, active.maps], [plain, of_plain], [x, wide], DTYPES[dtype])
    for computed, expected in ((y, plain), (active.maps, of_plain)):  # as if nobody read the other
        y, active = fused.gate(x, wide, activation, border)
        computed = y if expected is plain else active.maps
        plain = x + F.glu(wide, 1)
        expected = plain if computed is y else F.pad(activation(plain), border)
        assert_same(computed, expected, [x, wide], DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_parts", [1, 2])
def test_the_gate_of_gated_pixelcnn_is_the_plain_formula(num_parts: int, dtype: torch.dtype):
    parts = [randn(2, 10, 4, 6, dtype=dtype) for _ in range(num_parts)]
    with fused.disabled():
        expected = plain_gate(*parts)
    assert_same(fused.tanh_gate(*parts), expected, parts, DTYPES[dtype])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e-30])
def test_what_is_no_number_or_a_large_one_stays_what_it_is(value: float):
    for dtype in DTYPES:
        x, wide = torch.zeros(1, 3, 2, 2, dtype=dtype), torch.zeros(1, 6, 2, 2, dtype=dtype)
        x[0, 1, 0, 0] = wide[0, 4, 1, 1] = value
        for activation in RESNET_ACTIVATIONS.values():
            maps = fused.activate(x, activation, BORDERS[0]).maps
            torch.testing.assert_close(maps, F.pad(activation(x), BORDERS[0]), equal_nan=True)
            y, _ = fused.gate(x, wide, activation, BORDERS[0])
            torch.testing.assert_close(y, x + F.glu(wide, 1), equal_nan=True)
        with fused.disabled():
            expected = plain_gate(wide)
        torch.testing.assert_close(fused.tanh_gate(wide), expected, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_a_network_is_the_same_with_plain_formulas(case: Case, dtype: torch.dtype):
    assert_network_is_the_same(case, dtype)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_a_network_is_the_same_with_plain_formulas_under_any_option(name: str, options: dict):
    assert_network_is_the_same(case_of(name), torch.float64, **options)


def assert_network_is_the_same(case: Case, dtype: torch.dtype, **options: object) -> None:
    """Log-probabilities and the gradients of all weights, without dropout."""
    model = case.build((5, 7), **options).to(dtype)
    images, cond = random_images(model, 3), case.cond(model, 3)
    cond = cond.to(dtype) if cond is not None and cond.is_floating_point() else cond

    def run() -> tuple[Tensor, tuple[Tensor, ...]]:
        nats = model.log_prob(images, cond)
        return nats, torch.autograd.grad(nats.sum(), list(model.network.parameters()))

    computed, gradients = run()
    with fused.disabled():
        expected, plain_gradients = run()
    error = 1e-4 if dtype is torch.float32 else 1e-11
    torch.testing.assert_close(computed, expected, rtol=error, atol=error)
    for one, other in zip(gradients, plain_gradients, strict=True):
        torch.testing.assert_close(
            one, other, rtol=error, atol=error * float(other.abs().max() + 1)
        )


def test_the_number_of_threads_changes_no_bit():
    x, wide = randn(8, 16, 20, 20, dtype=torch.float32), randn(8, 32, 20, 20, dtype=torch.float32)
    before = torch.get_num_threads()

    def run(num_threads: int) -> list[Tensor]:
        torch.set_num_threads(num_threads)
        torch.manual_seed(0)
        y, active = fused.gate(x, wide, RESNET_ACTIVATIONS["concat_elu"], BORDERS[0])
        dropped = fused.activate(y, RESNET_ACTIVATIONS["concat_elu"], BORDERS[1], dropout=0.5)
        both = (active.maps.sin().sum() + dropped.maps.sin().sum(), [x, wide])
        return [active.maps, dropped.maps, *torch.autograd.grad(*both)]

    try:
        for one, two in zip(run(1), run(2), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)


def test_a_sigmoid_keeps_its_digits_where_it_is_nearly_0():
    for dtype, error in DTYPES.items():
        opening = torch.linspace(-80, 80, 641, dtype=dtype).view(1, 1, 1, -1)
        wide = torch.cat([torch.ones_like(opening), opening], 1).requires_grad_()
        x = torch.zeros_like(opening)
        y, _ = fused.gate(x, wide, RESNET_ACTIVATIONS["relu"], BORDERS[2])
        expected = torch.sigmoid(opening.double())
        torch.testing.assert_close(y.double(), expected, rtol=10 * error, atol=0)
        [gradient] = torch.autograd.grad(y.sum(), wide)
        slope = expected * (1 - expected)
        torch.testing.assert_close(
            gradient[:, 1:, :, :320].double(), slope[..., :320], rtol=20 * error, atol=0
        )


def test_arrays_of_several_kinds_are_refused():
    with pytest.raises(ValueError, match=r"not torch.float64"):
        fused.tanh_gate(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="one or two maps, not 3"):
        fused.tanh_gate(*[torch.zeros(1, 4, 2, 2)] * 3)


@pytest.fixture
def compile_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Path], str]]:
    """Asks for the functions again, with a compiler and a cache folder; tells what went wrong."""
    monkeypatch.setattr(kernels, "FLAGS", [f for f in kernels.FLAGS if f != "-O3"])  # is quicker

    def ask(compiler: str, folder: Path) -> str:
        monkeypatch.setenv("CXX", compiler)
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
        kernels._load.cache_clear()
        return kernels.trouble()

    yield ask
    kernels._load.cache_clear()


def test_the_functions_are_compiled_wherever_there_is_a_compiler():
    assert kernels.trouble() == ""
    assert kernels.available()


def test_without_a_compiler_the_plain_formulas_are_computed(
    compile_anew: Callable[[str, Path], str], tmp_path: Path
):
    assert "no-such-compiler" in compile_anew("no-such-compiler", tmp_path)
    assert not kernels.available()
    assert not fused.serves(torch.zeros(1))
    assert "'false'" in compile_anew("false", tmp_path)
    assert "No closing quotation" in compile_anew("c++ '", tmp_path)
    assert not list((tmp_path / "pixelcnn_lit").iterdir())


def test_a_compiler_without_openmp_is_enough(
    compile_anew: Callable[[str, Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kernels, "OPENMP", ["-fopenmp=nothing-like-it"])
    assert compile_anew(COMPILER, tmp_path) == ""
    assert len(list((tmp_path / "pixelcnn_lit").iterdir())) == 1


def test_a_cache_folder_that_cannot_be_written_to_is_not_needed(
    compile_anew: Callable[[str, Path], str], tmp_path: Path
):
    (tmp_path / "file").touch()
    assert compile_anew(COMPILER, tmp_path / "file") == ""
