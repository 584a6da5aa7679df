import itertools
import math

import numpy as np
import pytest
import torch

from pixelcnn_lit.data import CausalField, CausalFieldDataModule


def every_image(field):
    num_levels, shape = field.num_levels, (field.channels, *field.image_size)
    values = list(itertools.product(range(num_levels), repeat=math.prod(shape)))
    return torch.tensor(values, dtype=torch.uint8).view(-1, *shape)


@pytest.mark.parametrize(
    ("image_size", "channels", "num_levels", "hidden_offset"),
    [
        ([2, 4], 1, 2, (-1, 2)),
        ([3, 2], 1, 3, (-1, 1)),
        ([1, 3], 3, 2, (0, -2)),
        ([2, 2], 2, 2, (-1, 1)),
    ],
)
def test_probabilities_sum_to_one_and_entropy_equals_enumeration(
    image_size, channels, num_levels, hidden_offset
):
    field = CausalField(
        image_size, channels, num_levels, hidden_offset=hidden_offset, hidden_weight=0.5
    )
    log_prob = field.log_prob(every_image(field))
    assert log_prob.dtype == torch.float64
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)
    entropy = -(log_prob.exp() * log_prob).sum().item() / math.log(2) / field.num_dims
    assert field.true_bits_per_dim == pytest.approx(entropy, abs=1e-12)


def test_samples_have_the_probabilities_that_log_prob_says():
    field = CausalField([2, 3], 1, 2, hidden_offset=(-1, 1))
    images = every_image(field)
    powers = 2 ** torch.arange(6)
    drawn = torch.from_numpy(field.sample(200_000, seed=1)).flatten(1).long() @ powers
    frequencies = torch.bincount(drawn, minlength=64)[images.flatten(1).long() @ powers] / 200_000
    assert (frequencies - field.log_prob(images).exp()).abs().max() < 0.004


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_log_prob_of_samples_approaches_the_entropy(channels):
    field = CausalField([12, 12], channels, 4)
    images = torch.from_numpy(field.sample(3000, seed=0))
    per_image = -field.log_prob(images) / field.num_dims / math.log(2)
    error = per_image.std().item() / math.sqrt(3000)
    assert abs(per_image.mean().item() - field.true_bits_per_dim) < 4 * error


def test_without_dependence_a_value_costs_all_its_bits():
    field = CausalField([5, 5], 1, 8, hidden_weight=0, visible_weight=0)
    assert field.true_bits_per_dim == pytest.approx(3)


def test_a_pure_copy_of_the_left_neighbour_costs_only_the_first_column():
    field = CausalField([4, 8], 1, 2, hidden_weight=0, visible_weight=1)
    assert field.true_bits_per_dim == pytest.approx(1 / 8)
    images = field.sample(10, seed=0)
    assert (images == images[..., :1]).all()


def reach_of_masked_stack(kernel_sizes, size=20, at=(10, 10)):
    """Pixels that reach `at` through masked k×k layers (the first of type A), by walking paths."""
    seen = {at}
    for number, kernel_size in enumerate(kernel_sizes):
        half = kernel_size // 2
        taps = [
            (di, dj)
            for di in range(-half, 1)
            for dj in range(-half, half + 1)
            if di < 0 or dj < 0 or (dj == 0 and number > 0)
        ]
        seen = {(i + di, j + dj) for i, j in seen for di, dj in taps}
    return {(i, j) for i, j in seen if 0 <= i < size and 0 <= j < size}


@pytest.mark.parametrize("kernel_sizes", [[7] + 15 * [3], 6 * [7], [5] + 9 * [5], 12 * [3]])
def test_default_hidden_offset_lies_in_the_blind_spot_and_the_visible_one_does_not(kernel_sizes):
    seen = reach_of_masked_stack(kernel_sizes)
    assert (10 - 1, 10 + 4) not in seen
    assert (10, 10 - 1) in seen


def test_documented_reach_of_a_seven_then_three_stack():
    seen = reach_of_masked_stack([7] + 15 * [3])
    past = {(i, j) for i in range(20) for j in range(20) if (i, j) < (10, 10)}
    blind = {(10 - d, j) for d in range(1, 11) for j in range(20) if j > 10 + d + 2}
    assert past - seen == blind
    assert len(blind) == 21


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_offset": (0, 1)}, "hidden_offset"),
        ({"hidden_offset": (-1,)}, r"hidden_offset=\[-1\] must be \[rows, columns\]"),
        ({"visible_offset": (1, -1)}, "visible_offset"),
        ({"hidden_weight": 0.9, "visible_weight": 0.2}, "hidden_weight"),
    ],
)
def test_impossible_fields_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CausalField([4, 4], **options)


def test_data_module_gives_the_same_images_every_time_and_different_splits():
    modules = [CausalFieldDataModule(num_train=50, num_val=50, num_test=50) for _ in range(2)]
    first, second = (torch.cat([b["image"] for b in m.val_dataloader()]) for m in modules)
    assert torch.equal(first, second)
    test = torch.cat([b["image"] for b in modules[0].test_dataloader()])
    assert not torch.equal(first, test)
    assert first.shape == (50, 1, 12, 12)
    assert first.dtype == torch.uint8
    assert np.isfinite(modules[0].field.true_bits_per_dim)
