"""The walk over images and the requests around it; tests/test_laws_sampling.py has the laws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from variants import Case, case_of, random_images, seeded

from pixelcnn_lit import sampling
from pixelcnn_lit.likelihoods import Bernoulli, LogisticMixture, Softmax
from pixelcnn_lit.models import AbstractLitModel
from pixelcnn_lit.sampling import batches, draw_seeds, draw_uniforms, fitting_batch_size


@pytest.fixture(scope="module")
def model() -> AbstractLitModel:
    return case_of("gated").build((4, 5))


def test_a_hook_sees_the_image_grow_row_by_row(model: AbstractLitModel):
    seen: list[tuple[Tensor, int]] = []
    images = model.sample(2, on_row=lambda images, row: seen.append((images.clone(), row)))
    assert [row for _, row in seen] == [1, 2, 3, 4]
    for so_far, row in seen:
        assert torch.equal(so_far[:, :, :row], images[:, :, :row])
        assert not so_far[:, :, row:].any()


def test_what_a_walk_and_its_hook_return_are_ordinary_tensors(model: AbstractLitModel):
    seen: list[Tensor] = []
    images = model.sample(2, on_row=lambda images, row: seen.append(images.float()))
    for tensor in (images, *seen):
        assert not tensor.is_inference()
    (seen[-1] * torch.ones((), requires_grad=True)).sum().backward()


def test_every_image_has_random_numbers_of_its_own():
    likelihood = Softmax(3, 4)
    uniforms = draw_uniforms([7, 8, 7], likelihood, (4, 5))
    assert uniforms.shape == (3, 4, 5, 3)
    assert torch.equal(uniforms[0], uniforms[2])
    assert not torch.equal(uniforms[0], uniforms[1])
    assert torch.equal(draw_uniforms([8], likelihood, (4, 5))[0], uniforms[1])
    assert 0 <= uniforms.min() <= uniforms.max() < 1


@pytest.mark.parametrize(
    ("likelihood", "expected"), [(Bernoulli(1), 1), (Softmax(3, 4), 3), (LogisticMixture(3, 4), 4)]
)
def test_as_many_random_numbers_are_drawn_as_a_pixel_needs(likelihood: Softmax, expected: int):
    assert draw_uniforms([0], likelihood, (1, 1)).shape[-1] == expected


def test_seeds_come_from_the_generator_alone():
    state = torch.get_rng_state()
    assert draw_seeds(3, seeded()) == draw_seeds(3, seeded())
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(draw_seeds(1000, seeded()))) == 1000


def test_the_same_seed_draws_the_same_image_anywhere_in_a_request(model: AbstractLitModel):
    drawn = model.sample(4, seeds=[5, 6, 5, 7])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(model.sample(1, seeds=[7])[0], drawn[3])
    with pytest.raises(ValueError, match="seeds: 3 of them for 4 images"):
        model.sample(4, seeds=[1, 2, 3])


def test_drawing_leaves_the_models_mode_and_the_random_numbers_of_training_alone():
    model = case_of("pp").build((4, 5), dropout=0.5)
    expected = model.sample(2, generator=seeded())
    model.train()
    state = torch.get_rng_state()
    assert torch.equal(model.sample(2, generator=seeded()), expected)
    assert model.training
    assert model.network.training
    assert torch.equal(torch.get_rng_state(), state)


def test_an_interrupted_request_keeps_the_batches_that_are_finished(model: AbstractLitModel):
    def keep(batch: torch.Tensor) -> None:
        if kept:
            raise KeyboardInterrupt
        kept.append(batch)

    whole, kept = model.sample(6, generator=seeded()), []
    with pytest.raises(KeyboardInterrupt):
        model.sample(6, generator=seeded(), batch_size=2, on_batch=keep)
    assert torch.equal(kept[0], whole[:2])


def test_images_are_levels_of_the_model(model: AbstractLitModel):
    images = model.sample(8)
    assert images.dtype == torch.uint8
    assert images.shape == (8, 3, 4, 5)
    assert images.max() < model.likelihood.num_levels


def test_replaying_images_puts_them_down_again(model: AbstractLitModel):
    images = random_images(model, 2)
    walked = sampling.walk(model.pixel_model, sampling.Replay(images), 2)
    assert torch.equal(walked, images)


def test_an_image_that_is_given_whole_stays_whole(model: AbstractLitModel):
    images = random_images(model, 2)
    given = torch.ones(4, 5, dtype=torch.bool)
    assert torch.equal(model.sample(2, given=given, images=images), images)


class Gpu:
    """Stands for the network's device where its free memory is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**12))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
        monkeypatch.setattr(batches, "device_of", lambda model: torch.device("cuda:0"))


def test_on_a_gpu_a_batch_is_as_large_as_fits_into_its_memory(
    model: AbstractLitModel, monkeypatch: pytest.MonkeyPatch
):
    sizes = []
    for megabytes in (0, 1, 2, 10**6):
        Gpu(monkeypatch, megabytes * 10**6)
        sizes.append(fitting_batch_size(model.pixel_model))
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert sizes[1] > 1
    assert sizes[-1] == batches.LARGEST_BATCH


def test_a_guided_batch_is_half_as_large_as_it_walks_twice(
    model: AbstractLitModel, monkeypatch: pytest.MonkeyPatch
):
    def halved() -> bool:
        alone = fitting_batch_size(model.pixel_model)
        return fitting_batch_size(model.pixel_model, guided=True) == alone // 2 > 1

    assert halved()
    Gpu(monkeypatch, 10**6)
    assert halved()


def test_levels_beyond_a_byte_are_drawn_and_kept_exactly():
    """The dtype follows the number of levels, from the walk to the completed image."""
    model = case_of("gated").build((2, 3), 1000)
    images = model.sample(8, generator=seeded())
    assert images.dtype == torch.int16
    assert images.max() > 255
    given = torch.rand(2, 3) < 0.5
    again = model.sample(8, given=given, images=images, generator=seeded())
    assert torch.equal(again, images)
    with torch.no_grad():
        assert model.log_prob(images).isfinite().all()


def test_a_guided_request_is_cut_into_guided_batches(monkeypatch: pytest.MonkeyPatch):
    model = Case(case_of("gated").variant, "softmax", 1, "label").build((2, 2), label_dropout=0.1)
    labels = torch.zeros(3, dtype=torch.int64)

    def batch_sizes(guidance: float) -> list[int]:
        sizes: list[int] = []
        model.sample(3, labels, guidance=guidance, on_batch=lambda batch: sizes.append(len(batch)))
        return sizes

    monkeypatch.setattr(batches, "fitting_batch_size", lambda *_, guided: 1 if guided else 3)
    assert (batch_sizes(1), batch_sizes(2)) == ([3], [1, 1, 1])
