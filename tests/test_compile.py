"""Compiled blocks compute what the blocks do, once for every kind, and stay out of walks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from variants import case_of, random_images, seeded

from pixelcnn_lit.layers import fused
from pixelcnn_lit.models import AbstractLitModel
from pixelcnn_lit.networks.base import AbstractBlock
from pixelcnn_lit.networks.weight_norm import initialise

# torch looks at the gradients of features while it traces
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

MANY = {
    "pixelcnn": {"num_layers": 5},
    "gated": {"num_layers": 5},
    "pp": {"num_resnet": 2, "num_hierarchies": 1},
}


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nothing compiled before, and plain formulas only as long as the test."""
    with fused.disabled():
        torch._dynamo.reset()
        counters.clear()
        yield
    torch._dynamo.reset()


def build(name: str) -> AbstractLitModel:
    return case_of(name).build((4, 6), **MANY[name])


def outcome(model: AbstractLitModel, images: Tensor) -> list[Tensor]:
    """Log-probabilities and all gradients."""
    nats = model.log_prob(images)
    return [nats, *torch.autograd.grad(nats.sum(), list(model.parameters()))]


@pytest.mark.parametrize("name", MANY)
def test_compiled_blocks_are_the_network_and_equal_ones_share_their_code(name: str):
    model = build(name)
    images = random_images(model, 3)
    expected = outcome(model, images)
    fused._enabled = True
    model.network.compile_blocks("eager")
    assert not fused.serves(images.float())
    num_blocks = sum(isinstance(part, AbstractBlock) for part in model.modules())
    torch.testing.assert_close(outcome(model, images), expected)
    assert 0 < counters["stats"]["unique_graphs"] <= num_blocks / 2
    assert not counters["graph_break"]


@pytest.mark.parametrize("name", MANY)
def test_a_walk_and_data_dependent_initialisation_do_not_see_them(name: str):
    model, plain = build(name), build(name)
    model.network.compile_blocks("eager")
    images = random_images(model, 4)
    for one in (model, plain):
        initialise(one.network, one.input(images))
    drawn = model.sample(2, generator=seeded())
    assert torch.equal(drawn, plain.sample(2, generator=seeded()))
    assert not counters["stats"]["unique_graphs"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", MANY)
def test_inductor_gives_the_same_on_a_gpu(name: str):
    model = build(name).cuda()
    images = random_images(model, 3).cuda()
    expected = outcome(model, images)
    model.network.compile_blocks()
    torch.testing.assert_close(outcome(model, images), expected, rtol=1e-4, atol=1e-4)
