from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning import Trainer
from small_sets import random_images, write_split
from variants import nested

from pixelcnn_lit.data import HFImageDataModule
from pixelcnn_lit.models import LitGatedPixelCNN, LitPixelCNN, LitPixelCNNPP
from pixelcnn_lit.networks.conditions import (
    EmbeddingCondition,
    LabelCondition,
    NoCondition,
    drop_rows,
    mix,
)

MODELS = {
    "pixelcnn": (
        LitPixelCNN,
        {"num_layers": 2, "num_filters": 12, "num_hidden": 12, "bottleneck": False},
    ),
    "gated": (LitGatedPixelCNN, {"num_layers": 2, "num_filters": 12, "num_hidden": 12}),
    "pp": (
        LitPixelCNNPP,
        {"num_resnet": 1, "num_hierarchies": 2, "num_filters": 8, "dropout": 0.0},
    ),
}
SIZE = [4, 6]


def build(name, image_size=SIZE, num_levels=2, **options):
    model_class, sizes = MODELS[name]
    likelihood = {"name": "bernoulli" if num_levels == 2 else "logistic_mixture"}
    arguments = nested(sizes | options)
    return model_class(1, num_levels, list(image_size), likelihood=likelihood, **arguments)


def train(model, images, conds, *, num_steps=60, learning_rate=1e-2):
    """A few steps on fresh batches; ``conds`` and ``images`` are functions of their number."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    model.train()
    for _ in range(num_steps):
        cond = conds(64)
        optimizer.zero_grad()
        (-model.log_prob(images(cond), cond).mean() / model.num_dims).backward()
        optimizer.step()
    return model.eval()


# from a file, through the data module and a trainer, to samples


def embedded_rows(kind, number):
    """Binary images that their embedding decides: all pixels by a sign, or each by its own."""
    if kind == "vector":
        embeddings = torch.randn(number, 3)
        images = (embeddings[:, :1, None, None] > 0).expand(-1, 1, *SIZE)
    else:
        embeddings = torch.randn(number, 2, *SIZE)
        images = embeddings[:, :1] > 0
    return images.to(torch.uint8), embeddings


@pytest.fixture(scope="module", params=["vector", "map"])
def embedded_data(request, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    for split, number in [("train", 640), ("validation", 64), ("test", 64)]:
        images, embeddings = embedded_rows(request.param, number)
        write_split(folder / "data", split, images, embeddings=embeddings)
    return HFImageDataModule(
        str(folder / "data"),
        channels=1,
        num_levels=2,
        image_size=SIZE,
        embedding_key="embedding",
        embedding_dim=3 if request.param == "vector" else 2,
        batch_size=32,
        num_workers=0,
        cache_dir=str(folder / "cache"),
    )


@pytest.mark.parametrize("name", MODELS)
def test_images_that_the_embedding_decides_cost_almost_nothing_once_learnt(
    name, embedded_data, tmp_path
):
    model = build(
        name,
        embedding_dim=embedded_data.embedding_dim,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=2e-2),
    )
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=4,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(model, embedded_data)
    # by themselves the images are coins: a whole bit per pixel of a map, a bit per image else
    assert float(trainer.callback_metrics["val/bits_per_dim"]) < 0.1
    batch = next(iter(embedded_data.test_dataloader()))
    images, embeddings = batch["image"][:20], batch["embedding"][:20]
    drawn = model.sample(20, embeddings, generator=torch.Generator().manual_seed(0))
    assert (drawn == images).float().mean() > 0.85


def test_the_column_reaches_the_batch_as_it_was_written(tmp_path):
    images, embeddings = embedded_rows("map", 8)
    write_split(tmp_path, "train", images, embeddings=embeddings)
    data = HFImageDataModule(
        str(tmp_path),
        channels=1,
        num_levels=2,
        image_size=SIZE,
        embedding_key="embedding",
        embedding_dim=2,
        val_fraction=0.0,
        batch_size=8,
        num_workers=0,
        cache_dir=str(tmp_path / "cache"),
    )
    batch = data.first_batch()
    rows = {tuple(row.flatten().tolist()) for row in batch["embedding"]}
    assert rows == {tuple(row.flatten().tolist()) for row in embeddings}
    assert torch.equal(batch["image"], (batch["embedding"][:, :1] > 0).to(torch.uint8))


# what is refused


@pytest.mark.parametrize("name", MODELS)
def test_a_map_that_is_not_as_large_as_the_image_is_refused(name):
    model = build(name, image_size=[5, 6], embedding_dim=2)
    images = random_images(3, 1, [5, 6], 2)
    model.log_prob(images, torch.zeros(3, 2, 5, 6))
    for size in [(5, 5), (5, 7), (6, 6), (6, 5), (10, 12)]:
        cond = torch.zeros(3, 2, *size)
        with pytest.raises(ValueError, match="a map as large as the image"):
            model.log_prob(images, cond)
        with pytest.raises(ValueError, match="a map as large as the image"):
            model.sample(3, cond)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("options", "cond", "message"),
    [
        ({}, torch.zeros(2), "cond: this model is unconditional"),
        ({"num_classes": 3}, None, "cond: this model was trained with labels only"),
        ({"num_classes": 3}, torch.tensor([0, 3]), r"cond: labels \[3\]: allowed are 0 … 2"),
        ({"num_classes": 3}, torch.tensor([-1, 7]), r"cond: labels \[-1, 7\]: allowed"),
        ({"num_classes": 3}, torch.tensor([0, 1, 2]), r"cond: \(3,\) labels for 2 images"),
        ({"num_classes": 3}, torch.zeros(2, 4), r"cond of shape \(2, 4\): allowed is \(2, 3\)"),
        ({"embedding_dim": 3}, None, "cond: this model needs an embedding per image, of size 3"),
        ({"embedding_dim": 3}, torch.zeros(2, 2), r"cond of shape \(2, 2\): allowed is \(2, 3\)"),
        ({"embedding_dim": 3}, torch.zeros(1, 3), r"cond of shape \(1, 3\): allowed is \(2, 3\)"),
        ({"embedding_dim": 3}, torch.zeros(2, 3, 4), r"cond of shape \(2, 3, 4\): allowed is"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused_before_anything_is_drawn(
    name, options, cond, message
):
    with pytest.raises(ValueError, match=message):
        build(name, **options).sample(2, cond)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 3, "embedding_dim": 2}, "num_classes=3 and embedding_dim=2"),
        ({"num_classes": 0}, "num_classes=0: at least 1"),
        ({"embedding_dim": 0}, "embedding_dim=0: at least 1"),
        ({"num_classes": 3, "label_dropout": 1.0}, "label_dropout=1.0"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        build("gated", **options)


# what conditions are


def test_no_condition_is_none():
    assert NoCondition()(None) is None
    NoCondition().check(None, 3)


def test_labels_are_one_hot_and_mixtures_of_labels_pass():
    condition = LabelCondition(3, label_dropout=0.0)
    cond = condition(torch.tensor([2, 0]))
    assert cond is not None
    assert cond.tolist() == [[0, 0, 1], [1, 0, 0]]
    half = torch.tensor([[0.5, 0.5, 0.0]])
    assert torch.equal(condition(half), half)


@pytest.mark.parametrize("name", MODELS)
def test_a_label_is_its_one_hot_vector(name):
    model = build(name, num_classes=3).eval()
    images = random_images(3, 1, SIZE, 2)
    by_label = model.log_prob(images, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(model.log_prob(images, torch.eye(3)), by_label)


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_is_a_map_that_is_the_same_everywhere(name):
    model = build(name, embedding_dim=3, image_size=[4, 8]).eval()
    images, vectors = random_images(5, 1, [4, 8], 2), torch.randn(5, 3)
    maps = vectors[:, :, None, None].expand(-1, -1, 4, 8)
    torch.testing.assert_close(model.log_prob(images, maps), model.log_prob(images, vectors))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 7), st.booleans())
def test_mixing_goes_in_even_steps_from_one_end_to_the_other(number, size, num_steps, is_map):
    shape = (number, size, 2, 3) if is_map else (number, size)
    first, second = torch.randn(shape), torch.randn(shape)
    mixed = mix(first, second, num_steps)
    for step in range(num_steps):
        share = step / (num_steps - 1)
        torch.testing.assert_close(mixed[step], (1 - share) * first + share * second)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ValueError, match=r"second of shape \(2, 4\): that of first is \(2, 3\)"):
        mix(torch.zeros(2, 3), torch.zeros(2, 4), 3)
    with pytest.raises(ValueError, match="num_steps=1: at least 2"):
        mix(torch.zeros(2, 3), torch.zeros(2, 3), 1)


# label dropout


@pytest.mark.parametrize("maps", [False, True])
def test_dropout_hides_the_whole_condition_of_the_share_of_images_that_was_asked_for(maps):
    cond = torch.ones(4000, 3, 2, 2) if maps else torch.ones(4000, 3)
    kept = drop_rows(cond, 0.3).flatten(1)
    assert set(kept.sum(1).tolist()) == {0.0, float(kept.shape[1])}
    # four standard deviations of a share of 4,000
    assert float((kept == 0).float().mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 4000))


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        (LabelCondition(3, 0.5), torch.zeros(200, dtype=torch.int64)),
        (EmbeddingCondition(3, 0.5), torch.ones(200, 3)),
    ],
)
def test_conditions_are_hidden_in_training_only(condition, value):
    assert (condition.train()(value).sum(1) == 0).any()
    assert (condition.eval()(value).sum(1) != 0).all()


def test_a_model_that_knows_hidden_labels_can_be_asked_without_one():
    torch.manual_seed(0)
    model = build("gated", num_classes=2, label_dropout=0.2).eval()
    images = random_images(4, 1, SIZE, 2)
    zeros = torch.zeros(4, 2)
    torch.testing.assert_close(model.log_prob(images), model.log_prob(images, zeros))
    assert model.sample(3).shape == (3, 1, *SIZE)


# interpolation and guidance


CHANCES = torch.tensor([0.35, 0.65])
"""Of a pixel to be set, by label: the labels are told apart, but by many pixels only."""


def biased_coins(labels):
    return torch.bernoulli(CHANCES[labels].view(-1, 1, 1, 1).expand(-1, 1, *SIZE)).byte()


def random_labels(number):
    return torch.randint(2, (number,))


@pytest.fixture(scope="module", params=MODELS)
def coins(request):
    """Each network after learning the biased coins, a quarter of them without their label."""
    torch.manual_seed(0)
    model = build(request.param, num_classes=2, label_dropout=0.25)
    return train(model, biased_coins, random_labels, num_steps=80)


def share_set(model, label, guidance):
    labels = torch.full((100,), label)
    generator = torch.Generator().manual_seed(0)
    return float(model.sample(100, labels, guidance=guidance, generator=generator).float().mean())


def test_guidance_moves_samples_towards_the_condition_and_beyond(coins):
    # guidance 0 is the mixture of both labels, 1 the label's own coin, 3 an exaggeration of it
    for label, sign in [(0, -1), (1, 1)]:
        shares = [share_set(coins, label, guidance) for guidance in (0.0, 1.0, 3.0)]
        away = [sign * (share - 0.5) for share in shares]
        assert away[0] < away[1] < away[2]
        assert shares[1] == pytest.approx(float(CHANCES[label]), abs=0.08)
        assert away[2] > 0.15 + 0.05


def test_guidance_needs_a_model_that_has_seen_hidden_labels():
    model = build("gated", num_classes=2)
    with pytest.raises(ValueError, match=r"guidance=.*: needs a model trained with label_dropout"):
        model.sample(2, torch.tensor([0, 1]), guidance=2.0)


def test_interpolation_leads_from_one_condition_to_the_other(coins):
    first, second = torch.zeros(60, dtype=torch.int64), torch.ones(60, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    drawn = coins.interpolate(first, second, 4, generator=generator)
    assert drawn.shape == (4, 60, 1, *SIZE)
    shares = drawn.float().mean((1, 2, 3, 4))
    assert float(shares[0]) == pytest.approx(float(CHANCES[0]), abs=0.08)
    assert float(shares[-1]) == pytest.approx(float(CHANCES[1]), abs=0.08)
    assert (shares.diff() > -0.02).all()


def test_along_an_interpolation_only_the_condition_changes(coins):
    same = torch.tensor([0, 1, 1])
    drawn = coins.interpolate(same, same, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0][1], drawn[0][2])


def test_ends_that_do_not_fit_are_refused(coins):
    with pytest.raises(ValueError, match=r"cond: labels \[2\]"):
        coins.interpolate(torch.tensor([0]), torch.tensor([2]), 3)
    with pytest.raises(ValueError, match="labels for 1 images"):
        coins.interpolate(torch.tensor([0]), torch.tensor([1, 1]), 3)
    with pytest.raises(ValueError, match="num_steps=1"):
        coins.interpolate(torch.tensor([0]), torch.tensor([1]), 1)
