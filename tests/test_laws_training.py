"""What every variant owes to training: gradients, precision, initialisation, checkpoints."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from tiny_runs import write_checkpoint
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import DataLoader
from variants import Case, case_of, cases, random_images

from pixelcnn_lit.layers import Output, fused
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


class Losses(Callback):
    """What training descends on, step by step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: dict, batch: dict, index: int
    ) -> None:
        self.seen.append(outputs["loss"])


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but")  # no images for it
@pytest.mark.parametrize("case", [case_of("gated"), case_of("autoencoder")], ids=str)
def test_training_descends_on_bits_per_dim(case: Case, tmp_path: Path):
    model = case.build((6, 7), optimizer=lambda parameters: SGD(parameters, lr=0.0)).train()
    images, losses = random_images(model, 5), Losses()
    Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        callbacks=[losses],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    ).fit(model, DataLoader([{"image": images}], batch_size=None))
    with torch.no_grad():
        bits = -model.log_prob(images).mean() / (3 * 6 * 7 * math.log(2))
    torch.testing.assert_close(losses.seen, [bits])
    assert 1 < bits < 8  # 4 levels: 2 bits for who knows nothing


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
    with fused.disabled():  # whose dropout draws other numbers than that of bfloat16
        exact = batch_log_prob(case, model)
    torch.testing.assert_close(log_prob, exact, rtol=0.03, atol=0)


@pytest.mark.parametrize("case", EVERY_LIKELIHOOD, ids=str)
def test_a_checkpoint_alone_gives_the_model_back(case: Case, tmp_path: Path):
    model = case.build((6, 7))
    file = write_checkpoint(model, tmp_path / "model.ckpt")
    loaded = type(model).load_from_checkpoint(file, weights_only=True).eval()
    assert dict(loaded.hparams) == dict(model.hparams)
    parts = [part for part in loaded.hparams.values() if isinstance(part, dict)]
    values = [value for node in (loaded.hparams, *parts) for value in node.values()]
    assert all(isinstance(value, PLAIN | dict) for value in values)
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
    with torch.no_grad(), fused.disabled():  # which adds up what a skip gives by itself
        network(x)
    assert outputs.keys() == set(layers)
    seconds = {part for name, part in network.named_modules() if name.endswith("conv_out")}
    for layer in layers:
        mean, deviation = outputs[layer].mean((0, 2, 3)), outputs[layer].std((0, 2, 3))
        # the second convolution of a block: init_scale=0.1 in the paper's code, near identity
        wanted = torch.full_like(deviation, 0.1 if layer in seconds else 1.0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0)
        torch.testing.assert_close(deviation, wanted, atol=0, rtol=1e-2)
    assert 0 < len(seconds) < len(layers)


def test_directions_of_normed_weights_begin_as_the_paper_draws_them():
    """V ~ N(0, 0.05): how fast a direction turns depends on its length."""
    network = case_of("pp").build((6, 7), num_filters=24, data_init=False).network
    directions = [p for name, p in network.named_parameters() if name.endswith("original1")]
    assert len(directions) == len(normed_layers(network))
    deviation = torch.cat([direction.flatten() for direction in directions]).std().item()
    assert deviation == pytest.approx(0.05, rel=0.02)
