"""Likelihoods against 60-digit arithmetic, enumeration, closed forms and exhaustive draws."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from variants import seeded

from pixelcnn_lit.likelihoods import (
    AbstractLikelihood,
    Bernoulli,
    ChannelLogisticMixture,
    LogisticMixture,
    Softmax,
)

FLOOR = -7.0

# level, loc, log_scale, log-probability; 256 levels, from 60-digit arithmetic
CONSTANTS = [
    (0, -1, -3, -0.654539101),
    (0, 0, -3, -20.006770114),
    (255, -1, -7, -2188.965794667),
    (1, -1, -7, -4.314178956),
    (128, 0, -3, -3.236475807),
    (128, 0, 0, -6.234415852),
    (64, 0.5, -2, -10.223798309),
    (200, 0.5, -5, -9.977589445),
]

# Every kind of likelihood, with spaces of pixels small enough to enumerate.
SMALL = [
    Bernoulli(1),
    Bernoulli(3),
    Softmax(1, 256),
    Softmax(3, 4),
    ChannelLogisticMixture(1, 256, 3),
    ChannelLogisticMixture(3, 4, 2),
    LogisticMixture(1, 2, 1),
    LogisticMixture(1, 256, 10),
    LogisticMixture(2, 17, 5),
    LogisticMixture(3, 2, 3),
    LogisticMixture(3, 4, 2),
    LogisticMixture(4, 3, 2),
]
MIXTURES = [LogisticMixture, ChannelLogisticMixture]


def name(likelihood: AbstractLikelihood) -> str:
    return f"{type(likelihood).__name__}-{likelihood.channels}x{likelihood.num_levels}"


def random_params(
    likelihood: AbstractLikelihood, num: int, spread: float = 2.0, seed: int = 0
) -> Tensor:
    """(num, num_params) in float64."""
    shape = (num, likelihood.num_params)
    return spread * torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def every_pixel(likelihood: AbstractLikelihood) -> Tensor:
    """All num_levels^C pixels, (num_levels^C, C)."""
    levels = torch.arange(likelihood.num_levels)
    return torch.cartesian_prod(*[levels] * likelihood.channels).reshape(-1, likelihood.channels)


def level_spacing(num_levels: int) -> Decimal:
    return Decimal(2) / (num_levels - 1)


def exact_logistic(level: int, loc: Decimal, log_scale: Decimal, num_levels: int) -> Decimal:
    """A level's probability, straight from the definition; call it with digits to spare."""
    x = level * level_spacing(num_levels) - 1
    half = level_spacing(num_levels) / 2

    def cdf(edge: Decimal) -> Decimal:
        return 1 / (1 + (-(edge - loc) / log_scale.exp()).exp())

    upper = Decimal(1) if level == num_levels - 1 else cdf(x + half)
    lower = Decimal(0) if level == 0 else cdf(x - half)
    return upper - lower


def exact_mixture(params: list[float], pixel: list[int], num_levels: int, mix: int) -> Decimal:
    """Equation 3 with Python's decimals, for one pixel; params in the documented order."""
    channels = len(pixel)
    rows = [[Decimal(v) for v in params[i : i + mix]] for i in range(0, len(params), mix)]
    logits, locs = rows[0], rows[1 : 1 + channels]
    log_scales, coeffs = rows[1 + channels : 1 + 2 * channels], rows[1 + 2 * channels :]
    pairs = sorted((late, early) for early, late in combinations(range(channels), 2))
    weights = [logit.exp() for logit in logits]
    x = [level * level_spacing(num_levels) - 1 for level in pixel]
    total = Decimal(0)
    for k in range(mix):
        probability = weights[k] / sum(weights)
        for color in range(channels):
            loc = locs[color][k]
            for earlier in range(color):
                raw = coeffs[pairs.index((color, earlier))][k]
                tanh = (raw.exp() - (-raw).exp()) / (raw.exp() + (-raw).exp())
                loc += tanh * x[earlier]
            log_scale = max(log_scales[color][k], Decimal(FLOOR))
            probability *= exact_logistic(pixel[color], loc, log_scale, num_levels)
        total += probability
    return total


@pytest.mark.parametrize("likelihood", [m(1, 256, 1) for m in MIXTURES], ids=name)
@pytest.mark.parametrize(("level", "loc", "log_scale", "expected"), CONSTANTS)
def test_logistic_agrees_with_60_digit_constants(likelihood, level, loc, log_scale, expected):
    levels = torch.tensor([[level]])
    params = torch.tensor([[0, loc, log_scale]], dtype=torch.float64)
    assert likelihood(params).log_prob(levels).item() == pytest.approx(expected, abs=1e-6)
    in_float32 = likelihood(params.float()).log_prob(levels)
    assert in_float32.dtype == torch.float32
    assert in_float32.item() == pytest.approx(expected, rel=1e-4)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([2, 3, 17, 256, 65536]),
    st.floats(0, 1),
    st.floats(-3, 3),
    st.floats(-5, 20),
)
def test_logistic_agrees_with_decimal_arithmetic(num_levels, place, loc, log_scale):
    level = round(place * (num_levels - 1))
    params = torch.tensor([[0, loc, log_scale]], dtype=torch.float64)
    log_prob = LogisticMixture(1, num_levels, 1)(params).log_prob(torch.tensor([[level]]))
    with localcontext(prec=400):  # σ(a) and σ(b), both near 1, may share 270 digits
        probability = exact_logistic(level, Decimal(loc), Decimal(log_scale), num_levels)
    with localcontext(prec=30):
        exact = float(probability.ln())
    assert log_prob.item() == pytest.approx(exact, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("channels", "mix"), [(1, 3), (2, 2), (3, 4), (4, 1)])
def test_coupled_mixture_agrees_with_decimal_arithmetic(channels, mix):
    likelihood = LogisticMixture(channels, 5, mix)
    params = random_params(likelihood, 12)
    pixels = torch.randint(5, (12, channels), generator=seeded())
    log_probs = likelihood(params).log_prob(pixels)
    with localcontext(prec=200):
        exact = [
            float(exact_mixture(p, x, 5, mix).ln())
            for p, x in zip(params.tolist(), pixels.tolist(), strict=True)
        ]
    assert log_probs.tolist() == pytest.approx(exact, rel=1e-11)


def test_channel_mixture_is_one_grey_mixture_per_colour():
    likelihood = ChannelLogisticMixture(3, 17, 4)
    params = random_params(likelihood, 20)
    pixels = torch.randint(17, (20, 3), generator=seeded())
    grey = LogisticMixture(1, 17, 4)
    groups = params.chunk(3, 1)
    expected = sum(grey(groups[c]).log_prob(pixels[:, c : c + 1]) for c in range(3))
    torch.testing.assert_close(likelihood(params).log_prob(pixels), expected)


def test_softmax_and_bernoulli_agree_with_their_definitions():
    logits = random_params(Softmax(2, 3), 1).flatten()
    weights = [math.exp(v) for v in logits.tolist()]
    expected = math.log(weights[1] / sum(weights[:3])) + math.log(weights[5] / sum(weights[3:]))
    log_prob = Softmax(2, 3)(logits[None]).log_prob(torch.tensor([[1, 2]]))
    assert log_prob.item() == pytest.approx(expected, rel=1e-12)
    first, second = 0.3, -1.7
    params = torch.tensor([[first, second]], dtype=torch.float64)
    expected = -math.log(1 + math.exp(-first)) - math.log(1 + math.exp(second))
    log_prob = Bernoulli(2)(params).log_prob(torch.tensor([[1, 0]]))
    assert log_prob.item() == pytest.approx(expected, rel=1e-12)


def test_closed_forms_of_zero_parameters():
    levels = torch.tensor([0, 255, 127, 128])[:, None]
    for mixture in MIXTURES:
        params = torch.zeros(4, mixture(1, 256, 10).num_params, dtype=torch.float64)
        bits = -mixture(1, 256, 10)(params).log_prob(levels) / math.log(2)
        expected = [1.890502249, 1.890502249, 8.994360832, 8.994360832]
        assert bits.tolist() == pytest.approx(expected, abs=1e-9)
    softmax = Softmax(1, 256)(torch.zeros(4, 256, dtype=torch.float64))
    assert (-softmax.log_prob(levels) / math.log(2)).tolist() == pytest.approx([8] * 4, abs=1e-12)
    coin = Bernoulli(1)(torch.zeros(2, 1, dtype=torch.float64))
    bits = -coin.log_prob(torch.tensor([[0], [1]])) / math.log(2)
    assert bits.tolist() == pytest.approx([1, 1], abs=1e-12)


@pytest.mark.parametrize("likelihood", SMALL, ids=name)
@pytest.mark.parametrize("spread", [0.5, 2, 20])
def test_probabilities_of_every_pixel_sum_to_one(likelihood, spread):
    pixels = likelihood(random_params(likelihood, 8, spread))
    total = pixels.log_prob(every_pixel(likelihood)[:, None]).exp().sum(0)
    assert total.tolist() == pytest.approx([1] * 8, abs=1e-9)


@pytest.mark.parametrize("num_levels", [2, 4, 17, 256])
@pytest.mark.parametrize("mixture", MIXTURES)
def test_levels_of_a_colour_sum_to_one_in_both_precisions(mixture, num_levels):
    likelihood = mixture(1, num_levels, 7)
    params = random_params(likelihood, 50)
    levels = every_pixel(likelihood)[:, None]
    total = likelihood(params).log_prob(levels).exp().sum(0)
    assert total.tolist() == pytest.approx([1] * 50, abs=1e-6)
    total = likelihood(params.float()).log_prob(levels).double().exp().sum(0)
    assert total.tolist() == pytest.approx([1] * 50, abs=1e-5)


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("num_mix", [1, 2, 10, 30])
@pytest.mark.parametrize("num_levels", [2, 256])
def test_values_and_gradients_stay_finite_at_the_extremes(mixture, num_mix, num_levels):
    likelihood = mixture(3, num_levels, num_mix)
    ordinary = [0.0, 1, -1, 20, -20, 85, 90, -90, -7]
    choices = {
        "logits": torch.tensor([*ordinary, 1e4, -1e4]),
        "loc": torch.tensor([*ordinary, 1e4, -1e4, 1e30, -1e30]),
        "log_scale": torch.tensor([*ordinary, 1e4, -1e4]),
        "coeffs": torch.tensor([*ordinary, 1e4, -1e4]),
    }
    if mixture is LogisticMixture:
        rows = ["logits", *["loc"] * 3, *["log_scale"] * 3, *["coeffs"] * 3]
    else:
        rows = ["logits", "loc", "log_scale"] * 3
    generator = seeded()
    columns = [
        choices[row][torch.randint(len(choices[row]), (3000, num_mix), generator=generator)]
        for row in rows
    ]
    params = torch.cat(columns, 1).requires_grad_()
    levels = torch.randint(num_levels, (3000, 3), generator=generator)
    levels[:500], levels[500:1000] = 0, num_levels - 1
    log_prob = likelihood(params).log_prob(levels)
    (gradient,) = torch.autograd.grad(log_prob.sum(), params)
    assert log_prob.dtype == torch.float32
    assert log_prob.isfinite().all()
    assert gradient.isfinite().all()
    assert log_prob.max() <= 1e-5
    uniforms = torch.rand(3000, likelihood(params).num_uniforms, generator=generator)
    uniforms[:100], uniforms[100:200], uniforms[200:300] = 0, 1, 0.5
    drawn = likelihood(params).quantile(uniforms)
    assert drawn.min() >= 0
    assert drawn.max() <= num_levels - 1


@pytest.mark.parametrize("log_scale", [-6.9, -5.0, -1.0, 3.0])
def test_every_level_has_a_finite_gradient_far_from_the_location(log_scale):
    params = torch.tensor([0, -1.0, log_scale]).repeat(256, 1).requires_grad_()
    log_prob = LogisticMixture(1, 256, 1)(params).log_prob(torch.arange(256)[:, None])
    (gradient,) = torch.autograd.grad(log_prob.sum(), params)
    assert log_prob.isfinite().all()
    assert gradient.isfinite().all()
    assert (gradient[1:, 1] > 0).all()  # pulled towards the level, however improbable it is


@pytest.mark.parametrize("likelihood", SMALL, ids=name)
def test_gradients_agree_with_finite_differences(likelihood):
    params = random_params(likelihood, 6).requires_grad_()
    levels = torch.randint(likelihood.num_levels, (6, likelihood.channels), generator=seeded())
    assert torch.autograd.gradcheck(lambda p: likelihood(p).log_prob(levels), params)


@pytest.mark.parametrize("likelihood", SMALL, ids=name)
def test_levels_given_earlier_colours_obey_the_chain_rule(likelihood):
    pixels = likelihood(random_params(likelihood, 5))
    levels = torch.randint(likelihood.num_levels, (5, likelihood.channels), generator=seeded())
    total = torch.zeros(5, dtype=torch.float64)
    for color in range(likelihood.channels):
        log_probs = pixels.level_log_probs(color, levels)
        assert log_probs.shape == (5, likelihood.num_levels)
        assert log_probs.exp().sum(-1).tolist() == pytest.approx([1] * 5, abs=1e-9)
        total += log_probs[torch.arange(5), levels[:, color]]
        later = levels.clone()
        later[:, color:] = 0
        torch.testing.assert_close(pixels.level_log_probs(color, later), log_probs)
    torch.testing.assert_close(total, pixels.log_prob(levels))


def test_only_the_coupled_mixture_makes_colours_dependent():
    for likelihood in SMALL:
        if likelihood.channels == 1:
            continue
        pixels = likelihood(random_params(likelihood, 5))
        dark = torch.zeros(5, likelihood.channels, dtype=torch.int64)
        bright = torch.full_like(dark, likelihood.num_levels - 1)
        change = pixels.level_log_probs(1, dark) - pixels.level_log_probs(1, bright)
        assert (change.abs().max() > 1e-3) == likelihood.couples_channels


@pytest.mark.parametrize(
    "likelihood", [Bernoulli(3), Softmax(3, 4), ChannelLogisticMixture(3, 4, 2)], ids=name
)
def test_uncoupled_parameters_are_grouped_by_colour(likelihood):
    params = random_params(likelihood, 1)
    levels = torch.zeros(1, likelihood.channels, dtype=torch.int64)
    for color in range(likelihood.channels):
        changed = params.clone()
        changed.unflatten(1, (likelihood.channels, -1))[:, color, 0] += 1
        for other in range(likelihood.channels):
            before = likelihood(params).level_log_probs(other, levels)
            after = likelihood(changed).level_log_probs(other, levels)
            assert torch.equal(before, after) == (other != color)


@pytest.mark.parametrize(
    ("likelihood", "num_params"),
    [
        (Bernoulli(3), 3),
        (Softmax(3, 256), 768),
        (LogisticMixture(1, 256), 30),
        (LogisticMixture(3, 256), 100),
        (LogisticMixture(4, 256, 2), 30),
        (ChannelLogisticMixture(3, 256), 90),
    ],
    ids=lambda value: value if isinstance(value, int) else type(value).__name__,
)
def test_number_of_parameters(likelihood, num_params):
    assert likelihood.num_params == num_params


@pytest.mark.parametrize("num_levels", [2, 5, 256])
@pytest.mark.parametrize("mixture", MIXTURES)
def test_quantile_hits_each_level_as_often_as_it_is_probable(mixture, num_levels):
    likelihood = mixture(1, num_levels, 3)
    weights = torch.tensor([10, 22, 32], dtype=torch.float64) / 64
    rest = torch.tensor([-0.7, 0.2, 1.3, -4, -1, 0.5], dtype=torch.float64)
    pixels = likelihood(torch.cat([weights.log(), rest])[None])
    # 64 uniforms meet the weights exactly, so each component sees the whole fine grid.
    fine = 20_000
    which, where = (torch.arange(64) + 0.5) / 64, (torch.arange(fine) + 0.5) / fine
    levels = pixels.quantile(torch.cartesian_prod(which.double(), where.double()))
    share = levels.flatten().bincount(minlength=num_levels) / levels.numel()
    probabilities = pixels.level_log_probs(0, levels[:1]).exp()[0]
    assert (share - probabilities).abs().max() <= 1.01 / fine


@pytest.mark.parametrize("likelihood", [Bernoulli(1), Softmax(1, 2), Softmax(1, 37)], ids=name)
def test_quantile_of_a_list_of_levels_is_its_inverse_cdf(likelihood):
    pixels = likelihood(random_params(likelihood, 1))
    num = 20_000
    levels = pixels.quantile((torch.arange(num, dtype=torch.float64)[:, None] + 0.5) / num)
    assert (levels.diff(dim=0) >= 0).all()
    share = levels.flatten().bincount(minlength=likelihood.num_levels) / num
    probabilities = pixels.level_log_probs(0, levels[:1]).exp()[0]
    assert (share - probabilities).abs().max() <= 1.01 / num


@pytest.mark.parametrize(
    "likelihood",
    [Bernoulli(3), Softmax(2, 5), ChannelLogisticMixture(3, 4, 2), LogisticMixture(3, 4, 2)],
    ids=name,
)
def test_samples_of_whole_pixels_follow_the_joint_probabilities(likelihood):
    torch.manual_seed(3)
    pixels = likelihood(random_params(likelihood, 1, spread=1, seed=5))
    num = 200_000
    sample = pixels.sample((num,)).squeeze(1)
    place = torch.tensor([likelihood.num_levels**c for c in reversed(range(sample.shape[1]))])
    counts = (sample * place).sum(1).bincount(minlength=likelihood.num_levels ** len(place))
    expected = num * pixels.log_prob(every_pixel(likelihood)).exp()
    freedom = len(expected) - 1
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize(("channels", "num_levels"), [(2, 4), (3, 3), (3, 256)])
def test_a_colour_is_drawn_given_the_rounded_earlier_colours(channels, num_levels):
    # With one component the conditional of a colour is one logistic: its uniform must lie in the
    # very bin that log_prob, which only ever sees rounded colours, gives the drawn level.
    likelihood = LogisticMixture(channels, num_levels, 1)
    num = 2000
    params = random_params(likelihood, num, spread=1)
    params[:, 1 + channels : 1 + 2 * channels] -= 2  # narrow, so that a shift of half a bin shows
    params[:, 1 + 2 * channels :] += 3  # coefficients near 1
    pixels = likelihood(params)
    uniforms = torch.rand(num, 1 + channels, generator=seeded(), dtype=torch.float64)
    levels = pixels.quantile(uniforms)
    for color in range(channels):
        probabilities = pixels.level_log_probs(color, levels).exp()
        upper = probabilities.cumsum(-1)
        lower = upper - probabilities
        drawn, u = levels[:, color : color + 1], uniforms[:, 1 + color : 2 + color]
        assert (lower.gather(1, drawn) <= u + 1e-9).all()
        assert (u <= upper.gather(1, drawn) + 1e-9).all()


def test_the_colours_of_a_pixel_share_one_component():
    # Two components, black and white. Redrawing the component per colour would mix them.
    logits, loc = [0.0, 0.0], [-1.0, 1.0]
    params = torch.tensor([[*logits, *loc * 3, *[-7.0] * 6, *[0.0] * 6]])
    torch.manual_seed(0)
    sample = LogisticMixture(3, 256, 2)(params).sample((4000,)).squeeze(1)
    white = sample > 127
    assert (white == white[:, :1]).all()
    assert 0.46 < white[:, 0].double().mean() < 0.54


def test_an_impossible_component_is_never_drawn():
    # Rounding lets float32 weights sum to less than 1; the gap must not go to the last one.
    torch.manual_seed(0)
    logits = torch.randn(2000, 256)
    logits[:, 0], logits[:, -1] = -200, -200
    for end in (0.0, 1 - 2**-24, 1.0):
        levels = Softmax(1, 256)(logits).quantile(torch.full((2000, 1), end))
        assert levels.min() > 0
        assert levels.max() < 255


def test_a_uniform_of_zero_is_no_stray_black_pixel():
    params = torch.tensor([[0.0, 0.0, -7.0]])
    pixels = LogisticMixture(1, 256, 1)(params)
    for end in (0.0, 1 - 2**-24, 1.0):
        level = pixels.quantile(torch.tensor([[0.5, end]])).item()
        assert 124 <= level <= 131


@pytest.mark.parametrize("likelihood", [s for s in SMALL if s.num_levels < 20], ids=name)
def test_mode_takes_the_most_probable_level_of_each_colour_in_turn(likelihood):
    pixels = likelihood(random_params(likelihood, 10))
    shape = (10, *[likelihood.num_levels] * likelihood.channels)
    joint = pixels.log_prob(every_pixel(likelihood)[:, None]).exp().T.reshape(shape)
    modes = pixels.mode
    assert modes.dtype == torch.int64
    for table, mode in zip(joint, modes.tolist(), strict=True):
        remaining = table.unsqueeze(-1)
        for level in mode:
            marginal = remaining.flatten(1).sum(1)
            assert level == marginal.argmax()
            remaining = remaining[level]


@pytest.mark.parametrize("temperature", [0.25, 0.9, 1.7])
def test_temperature_sharpens_or_flattens_a_softmax(temperature):
    likelihood = Softmax(1, 9)
    params = random_params(likelihood, 4)
    levels = torch.arange(9)[:, None, None]
    powers = likelihood(params).log_prob(levels).exp() ** (1 / temperature)
    tempered = likelihood(params, temperature).log_prob(levels).exp()
    torch.testing.assert_close(tempered, powers / powers.sum(0))
    # a coin is a softmax over the logits 0 and l
    logit = torch.tensor([[0.8]], dtype=torch.float64)
    heads = Bernoulli(1)(logit, temperature).log_prob(torch.tensor([[1]])).exp()
    assert heads.item() == pytest.approx(1 / (1 + math.exp(-0.8 / temperature)))


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("temperature", [0.25, 1.7])
def test_temperature_scales_the_logistics_and_the_mixture_logits(mixture, temperature):
    likelihood = mixture(1, 17, 3)
    params = random_params(likelihood, 6)
    logits, loc, log_scale = params.chunk(3, 1)
    # the floor is the model's and comes first, so that sharp logistics sharpen too
    expected = sum(
        weight.exp()[:, None]
        * LogisticMixture(1, 17, 1)(torch.stack([torch.zeros_like(mu), mu, scale], 1))
        .level_log_probs(0, torch.zeros(6, 1))
        .exp()
        for weight, mu, scale in zip(
            (logits / temperature).log_softmax(1).unbind(1),
            loc.unbind(1),
            (log_scale + math.log(temperature)).unbind(1),
            strict=True,
        )
    )
    tempered = likelihood(params, temperature).level_log_probs(0, torch.zeros(6, 1))
    torch.testing.assert_close(tempered.exp(), expected)


def test_low_temperature_draws_the_mode():
    for likelihood in SMALL:
        params = random_params(likelihood, 20)
        cold = likelihood(params, temperature=1e-8)
        assert torch.equal(cold.sample(), cold.mode)


def test_the_scale_floor_comes_before_the_temperature():
    at_floor = torch.tensor([[0.0, 0.0, FLOOR]], dtype=torch.float64)
    below = torch.tensor([[0.0, 0.0, -50.0]], dtype=torch.float64)
    likelihood = LogisticMixture(1, 2**16, 1)
    levels = torch.tensor([[2**15]])
    assert torch.equal(likelihood(below).log_prob(levels), likelihood(at_floor).log_prob(levels))
    colder = likelihood(at_floor, temperature=0.1).log_prob(levels)
    assert colder > likelihood(at_floor).log_prob(levels) + 2


@pytest.mark.parametrize("likelihood", SMALL, ids=name)
def test_autocast_leaves_float32_untouched(likelihood):
    params = random_params(likelihood, 30).float()
    levels = torch.randint(likelihood.num_levels, (30, likelihood.channels), generator=seeded())
    uniforms = torch.rand(30, likelihood(params).num_uniforms, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        inside = likelihood(params)
        log_prob, drawn = inside.log_prob(levels), inside.quantile(uniforms)
    assert log_prob.dtype == torch.float32
    assert torch.equal(log_prob, likelihood(params).log_prob(levels))
    assert torch.equal(drawn, likelihood(params).quantile(uniforms))


@pytest.mark.parametrize("likelihood", SMALL, ids=name)
def test_half_precision_parameters_are_computed_in_float32(likelihood):
    levels = torch.zeros(4, likelihood.channels)
    for dtype in (torch.float16, torch.bfloat16):
        params = random_params(likelihood, 4).to(dtype)
        log_prob = likelihood(params).log_prob(levels)
        assert log_prob.dtype == torch.float32
        assert torch.equal(log_prob, likelihood(params.float()).log_prob(levels))
    assert likelihood(params.double()).log_prob(levels).dtype == torch.float64


@pytest.mark.parametrize("likelihood", SMALL, ids=name)
def test_a_position_alone_has_the_distribution_it_has_in_the_image(likelihood):
    params = random_params(likelihood, 2 * 3 * 5).reshape(2, 3, 5, -1)
    whole = likelihood(params.movedim(-1, 1))
    assert whole.batch_shape == (2, 3, 5)
    assert whole.event_shape == (likelihood.channels,)
    generator = seeded()
    uniforms = torch.rand(2, 3, 5, whole.num_uniforms, generator=generator).double()
    images = whole.quantile(uniforms)
    alone = likelihood(params[:, 1, 4])
    assert torch.equal(alone.quantile(uniforms[:, 1, 4]), images[:, 1, 4])
    torch.testing.assert_close(
        alone.log_prob(images[:, 1, 4]), whole.log_prob(images)[:, 1, 4], rtol=1e-12, atol=1e-12
    )
    assert whole.sample((4,)).shape == (4, 2, 3, 5, likelihood.channels)
    assert whole.log_prob(images.to(torch.uint8)).equal(whole.log_prob(images.double()))


@pytest.mark.parametrize("likelihood", SMALL, ids=name)
def test_nothing_waits_for_the_device(likelihood):
    # Tensors on the meta device have no values: whatever asks for one raises.
    params = torch.zeros(2, likelihood.num_params, 4, 4, device="meta")
    pixels = likelihood(params, 0.9)
    levels = torch.zeros(2, 4, 4, likelihood.channels, device="meta")
    assert pixels.log_prob(levels).shape == (2, 4, 4)
    uniforms = torch.zeros(2, 4, 4, pixels.num_uniforms, device="meta")
    assert pixels.quantile(uniforms).shape == levels.shape
    assert pixels.mode.shape == levels.shape


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Bernoulli(0), "channels must be at least 1, not 0"),
        (lambda: Softmax(3, 1), "num_levels must be at least 2, not 1"),
        (lambda: LogisticMixture(3, 4, 0), "num_logistic_mix=0: at least 1"),
        (lambda: ChannelLogisticMixture(3, 4, -1), "num_logistic_mix=-1: at least 1"),
        (lambda: Softmax(3, 4)(torch.zeros(1, 11)), "Softmax takes 12 params per pixel, not 11"),
        (lambda: Bernoulli(1)(torch.zeros(1, 1), 0), "temperature must be above 0, not 0"),
        (
            lambda: Bernoulli(1)(torch.zeros(1, 1), math.nan),
            "temperature must be above 0, not nan",
        ),
        (
            lambda: Bernoulli(3)(torch.zeros(1, 3, 8, 8)).log_prob(torch.zeros(1, 3, 8, 8)),
            r"levels must be \(…, 3\), colours last, not \(1, 3, 8, 8\)",
        ),
    ],
)
def test_misuse_is_one_line_that_names_the_value(build, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build()
