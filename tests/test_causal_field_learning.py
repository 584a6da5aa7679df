"""Trained on images of known entropy, a network is as good as what it can see."""

import importlib.util
from pathlib import Path

import pytest
import torch

from pixelcnn_lit.data.sets.causal_field import CausalField

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "causal_field.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("causal_field_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "num_steps", "least", "most"),
    [
        ("pixelcnn", 120, 0.15, 1),
        ("gated", 250, -0.01, 0.03),
        ("pp", 150, -0.01, 0.03),
        ("autoencoder", 180, -0.05, 0.03),  # its code, which it does not count, helps
    ],
)
def test_only_plain_pixelcnn_pays_for_a_cause_in_its_blind_spot(
    benchmark, variant, num_steps, least, most
):
    torch.set_default_dtype(torch.float32)
    field = CausalField(benchmark.IMAGE_SIZE, num_levels=benchmark.NUM_LEVELS)
    test = torch.from_numpy(field.sample(300, seed=10**6))
    truth = benchmark.mean_bits(field.log_prob(test), field)
    torch.manual_seed(0)
    model = benchmark.make_model(variant)
    benchmark.train(model, field, num_steps=num_steps, batch_size=64)
    assert least < benchmark.measure(model, test, field) / truth - 1 < most
