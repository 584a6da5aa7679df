"""Models are distributions over images, and samples follow them: everything by enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from variants import Case, cases, network_inputs

from pixelcnn_lit.likelihoods import AbstractPixels
from pixelcnn_lit.models import AbstractLitModel

pytestmark = pytest.mark.usefixtures("float64")

NUM_SAMPLES = 2000
ORDERED_AND_COUPLED = ["softmax", "logistic_mixture"]
GREY = cases(likelihoods=["softmax"], channels=[1], conditionings=["label"])
RGB = cases(likelihoods=ORDERED_AND_COUPLED, channels=[3], conditionings=["none"])
GUIDED = [
    case
    for case in cases(likelihoods=ORDERED_AND_COUPLED, channels=[3], conditionings=["label"])
    if case.conditioning == "label"
]


def every_image(model: AbstractLitModel) -> Tensor:
    """All num_levels^(C·H·W) images, uint8."""
    levels = torch.arange(model.likelihood.num_levels, dtype=torch.uint8)
    images = torch.cartesian_prod(*[levels] * model.num_dims)
    return images.view(-1, *model.image_shape)


def one_cond(case: Case, model: AbstractLitModel, num_images: int) -> Tensor | None:
    """The same cond for all images."""
    cond = case.cond(model, 2)
    return None if cond is None else cond[1:].expand(num_images, *cond.shape[1:])


def probabilities(model: AbstractLitModel, images: Tensor, cond: Tensor | None) -> Tensor:
    """Of each image, (B,)."""
    with torch.no_grad():
        return model.log_prob(images, cond).exp()


def number(images: Tensor, num_levels: int) -> Tensor:
    """Where each image stands in the list of every image, (B,)."""
    digits = images.flatten(1).long()
    return digits @ num_levels ** torch.arange(digits.shape[1]).flip(0)


def assert_drawn_from(samples: Tensor, probabilities: Tensor, num_levels: int) -> None:
    """Pearson's statistic of the counts within 5 deviations of its mean; rare images pooled."""
    counts = number(samples, num_levels).bincount(minlength=len(probabilities)).double()
    expected = probabilities * len(samples)
    rare = expected < 5
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    statistic = ((counts - expected) ** 2 / expected.clamp(min=1e-9)).sum().item()
    freedom = len(expected) - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def pixels_of(
    model: AbstractLitModel, images: Tensor, cond: Tensor | None, temperature: float
) -> AbstractPixels:
    """The distribution of the pixels of whole images, from one forward pass."""
    with torch.no_grad():
        params = model.network(*network_inputs(model, images, cond))
    return model.likelihood(params, temperature)


# 64 to 729 images: 3 levels where one colour leaves room for them.
@pytest.mark.parametrize("case", cases(conditionings=["none"]), ids=str)
def test_probabilities_of_every_image_sum_to_one(case: Case):
    grey = case.channels == 1
    num_levels = 3 if grey and case.likelihood != "bernoulli" else 2
    model = case.build((2, 3) if grey else (1, 3), num_levels)
    images = every_image(model)
    total = probabilities(model, images, one_cond(case, model, len(images))).sum().item()
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("case", cases(conditionings=["none"]), ids=str)
def test_images_are_drawn_as_often_as_the_model_says(case: Case):
    model = case.build((2, 3) if case.channels == 1 else (3, 1), 2)
    images = every_image(model)
    exact = probabilities(model, images, one_cond(case, model, len(images)))
    samples = model.sample(NUM_SAMPLES, one_cond(case, model, NUM_SAMPLES))
    assert_drawn_from(samples, exact, 2)


@pytest.mark.parametrize("case", GREY, ids=str)
def test_images_of_another_condition_are_drawn_from_another_distribution(case: Case):
    model = case.build((2, 3), 2)
    images = every_image(model)
    [other] = case.cond(model, 1)
    exact = probabilities(model, images, other.expand(len(images), *other.shape))
    samples = model.sample(NUM_SAMPLES, one_cond(case, model, NUM_SAMPLES))
    with pytest.raises(AssertionError):
        assert_drawn_from(samples, exact, 2)


@pytest.mark.parametrize("case", RGB, ids=str)
def test_temperature_sharpens_every_pixel_given_those_before_it(case: Case):
    temperature = 0.6
    model = case.build((1, 3), 2)
    images = every_image(model)
    pixels = pixels_of(model, images, one_cond(case, model, len(images)), temperature)
    exact = pixels.log_prob(images.movedim(1, -1)).sum((1, 2)).exp()
    samples = model.sample(NUM_SAMPLES, one_cond(case, model, NUM_SAMPLES), temperature=temperature)
    assert exact.sum().item() == pytest.approx(1)
    assert_drawn_from(samples, exact, 2)


@pytest.mark.parametrize("guidance", [0.0, 2.5])
@pytest.mark.parametrize("case", GUIDED, ids=str)
def test_guidance_leads_from_the_unconditional_distribution_through_the_conditional(
    case: Case, guidance: float
):
    model = case.build((1, 3), 2, label_dropout=0.2)
    num_samples = NUM_SAMPLES // 2  # each walks twice
    images = every_image(model)
    with_label = pixels_of(model, images, one_cond(case, model, len(images)), 1.0)
    without = pixels_of(model, images, torch.zeros(len(images), 3), 1.0)
    log_probs = torch.zeros(len(images))
    for color in range(model.likelihood.channels):  # the chain rule, by hand
        levels = images.movedim(1, -1)
        toward, start = (
            pixels.level_log_probs(color, levels).double() for pixels in (with_label, without)
        )
        mixed = (guidance * toward + (1 - guidance) * start).log_softmax(-1)
        log_probs += mixed.gather(-1, levels[..., color, None].long()).sum((1, 2, 3))
    samples = model.sample(num_samples, one_cond(case, model, num_samples), guidance=guidance)
    assert_drawn_from(samples, log_probs.exp(), 2)


@pytest.mark.parametrize("case", GREY, ids=str)
def test_completions_follow_the_distribution_given_the_rows_above(case: Case):
    model = case.build((2, 3), 2)
    images = every_image(model)
    above = torch.tensor([1, 0, 0], dtype=torch.uint8)
    exact = probabilities(model, images, one_cond(case, model, len(images)))
    exact = exact * (images[:, 0, 0] == above).all(-1)
    given = torch.tensor([[True] * 3, [False] * 3])
    wanted = torch.zeros(NUM_SAMPLES, *model.image_shape, dtype=torch.uint8)
    wanted[:, 0, 0] = above
    samples = model.sample(
        NUM_SAMPLES, one_cond(case, model, NUM_SAMPLES), given=given, images=wanted
    )
    assert_drawn_from(samples, exact / exact.sum(), 2)
