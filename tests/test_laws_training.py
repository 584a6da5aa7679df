"""What every variant owes to training: gradients, precision, initialisation, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch import Tensor
from variants import Case, case_of, cases, random_images

from pixelcnn_lit.layers import Output
from pixelcnn_lit.metrics import bits_per_dim
from pixelcnn_lit.models import AbstractLitModel
from pixelcnn_lit.networks.weight_norm import initialise, normed_layers

PLAIN = int | float | str | list | None
EVERY_LIKELIHOOD = cases(channels=[3], conditionings=["none"])


def batch_log_prob(case: Case, model: AbstractLitModel, num_images: int = 4) -> Tensor:
    """As in training: an autoencoder makes its code of the images."""
    cond = None if case.conditioning == "code" else case.cond(model, num_images)
    return model.log_prob(random_images(model, num_images), cond)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_every_parameter_gets_a_gradient(case: Case):
    """One without would stop training on several processes."""
    model = case.build((6, 7)).train()
    batch_log_prob(case, model).mean().backward()
    missed = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert missed == []


@pytest.mark.parametrize("case", EVERY_LIKELIHOOD, ids=str)
def test_bfloat16_training_gives_float32_likelihoods_and_finite_gradients(case: Case):
    model = case.build((6, 7)).train()
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        log_prob = batch_log_prob(case, model)
    assert log_prob.dtype == torch.float32
    assert log_prob.isfinite().all()
    log_prob.mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.manual_seed(1)
    exact = batch_log_prob(case, model)
    torch.testing.assert_close(log_prob, exact, rtol=0.03, atol=0)


@pytest.mark.parametrize("case", EVERY_LIKELIHOOD, ids=str)
def test_a_checkpoint_alone_gives_the_model_back(case: Case, tmp_path: Path):
    model = case.build((6, 7))
    trainer = Trainer(accelerator="cpu", logger=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = type(model).load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True).eval()
    assert dict(loaded.hparams) == dict(model.hparams)
    assert all(isinstance(value, PLAIN) for value in loaded.hparams.values())
    images, cond = random_images(model, 4), case.cond(model, 4)
    with torch.no_grad():
        assert torch.equal(loaded.log_prob(images, cond), model.log_prob(images, cond))


@pytest.mark.parametrize(
    ("likelihood", "num_levels", "bits"), [("softmax", 256, 8), ("bernoulli", 2, 1)]
)
@pytest.mark.parametrize("case", cases(likelihoods=["softmax"], conditionings=["none"]), ids=str)
def test_parameters_of_zero_cost_as_many_bits_as_a_level_has(
    case: Case, likelihood: str, num_levels: int, bits: float
):
    model = replace(case, likelihood=likelihood).build((6, 7), num_levels)
    [output] = [layer for layer in model.network.modules() if isinstance(layer, Output)]
    for name, parameter in output.named_parameters():
        if not name.endswith("original1"):  # the direction of a normed weight, which has no length
            torch.nn.init.zeros_(parameter)
    log_prob = batch_log_prob(case, model)
    torch.testing.assert_close(
        bits_per_dim(log_prob, model.num_dims), torch.full((4,), float(bits)), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize(("channels", "size"), [(1, (9, 12)), (3, (8, 8))])
def test_initialised_layers_put_out_mean_0_and_the_wanted_deviation(
    channels: int, size: tuple[int, int], weight_norm: bool
):
    case = replace(case_of("pp"), likelihood="logistic_mixture", channels=channels)
    network = case.build(size, weight_norm=weight_norm, num_levels=17).network
    x = torch.rand(16, channels, *size) * 2 - 1
    initialise(network, x)
    outputs: dict[torch.nn.Module, Tensor] = {}
    layers = normed_layers(network)
    for layer in layers:
        layer.register_forward_hook(lambda layer, _, output: outputs.update({layer: output}))
    with torch.no_grad():
        network(x)
    assert outputs.keys() == set(layers)
    for layer in layers:
        mean, deviation = outputs[layer].mean((0, 2, 3)), outputs[layer].std((0, 2, 3))
        wanted = torch.full_like(deviation, layer.init_deviation)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0)
        torch.testing.assert_close(deviation, wanted, atol=0, rtol=1e-2)
    assert {layer.init_deviation for layer in layers} == {1.0, 0.1}
