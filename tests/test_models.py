"""The models: sizes, what they refuse, and where initialisation happens."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader
from variants import VARIANTS, Case, Options, Variant, case_of, cases, nested, random_images

from pixelcnn_lit.models import (
    AbstractLitModel,
    LitGatedPixelCNN,
    LitPixelCNN,
    LitPixelCNNAutoencoder,
    LitPixelCNNPP,
)
from pixelcnn_lit.models.tables import NETWORKS
from pixelcnn_lit.models.variants import AbstractVariant
from pixelcnn_lit.networks.weight_norm import initialise


def pp(**options: object) -> LitPixelCNNPP:
    arguments = {"channels": 1, "num_levels": 17, "image_size": [8, 8]} | {
        "num_resnet": 1,
        "num_hierarchies": 2,
        "num_filters": 8,
    }
    return LitPixelCNNPP(**nested(arguments | options))


def test_pixelcnn_pp_of_the_paper_has_53_66_million_parameters():
    with torch.device("meta"):
        model = LitPixelCNNPP(3, 256, [32, 32])
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert num_parameters == pytest.approx(53.66e6, rel=1e-3)


@pytest.mark.parametrize(
    "documented",
    [AbstractVariant, LitPixelCNNAutoencoder, *(made.options_type for made in NETWORKS.values())],
    ids=lambda made: made.__name__,
)
def test_arguments_are_spelled_out_and_documented(documented: type):
    parameters = inspect.signature(documented).parameters
    assert not [p for p in parameters.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    described = documented.__doc__ or ""
    assert [name for name in parameters if f"\n        {name}: " not in described] == []


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_saved_options_are_plain_nested_values_that_build_the_same_model(variant: Variant):
    case = Case(variant, "logistic_mixture", 3, variant.conditionings[0])
    saved = dict(case.build((6, 5)).hparams)
    assert json.loads(json.dumps(saved)) == saved
    again = variant.model(**saved)
    assert again.hparams == saved
    options_type = NETWORKS[saved["network"]["name"]].options_type
    assert set(saved["network"]) == {"name", *inspect.signature(options_type).parameters}
    shapes = [
        {name: w.shape for name, w in m.state_dict().items()} for m in (again, case.build((6, 5)))
    ]
    assert shapes[0] == shapes[1]


class Images(LightningDataModule):
    """A batch of random images; counts how often the first batch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.images = torch.randint(17, (8, 1, 8, 8), dtype=torch.uint8)

    def first_batch(self) -> dict[str, torch.Tensor]:
        self.asked += 1
        return {"image": self.images}

    def train_dataloader(self) -> DataLoader:
        return DataLoader([{"image": image} for image in self.images], batch_size=8)


def fit(
    model: AbstractLitModel, data: Images, folder: Path, checkpoint: Path | None = None
) -> Trainer:
    """One step, or after a checkpoint one more."""
    trainer = Trainer(
        accelerator="cpu",
        max_steps=2 if checkpoint else 1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.ckpt_path = checkpoint
    trainer.fit(model, datamodule=data, weights_only=True)
    return trainer


def frozen(parameters: object) -> SGD:
    return SGD(parameters, lr=0.0)


# stopped within an epoch, on purpose
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before")
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but")  # no images for it
def test_training_begins_from_the_first_batch_and_a_resumed_one_does_not(tmp_path: Path):
    data = Images()
    fresh, model = pp(optimizer=frozen, dropout=0.0), pp(optimizer=frozen, dropout=0.0)
    model.load_state_dict(fresh.state_dict())
    trainer = fit(model, data, tmp_path)
    assert data.asked == 1
    assert not torch.equal(model.network.u_above.bias, fresh.network.u_above.bias)
    trainer.save_checkpoint(tmp_path / "step.ckpt")
    fit(pp(optimizer=frozen), data, tmp_path, tmp_path / "step.ckpt")
    assert data.asked == 1
    fit(pp(data_init=False), data, tmp_path)
    assert data.asked == 1


def test_log_prob_is_nats_per_image_and_does_not_depend_on_the_rest_of_the_batch():
    case = case_of("gated")
    model = case.build((5, 4))
    images = random_images(model, 6)
    with torch.no_grad():
        together = model.log_prob(images)
        alone = torch.cat([model.log_prob(image[None]) for image in images])
    assert together.shape == (6,)
    torch.testing.assert_close(together, alone)


WRONG: list[tuple[type[AbstractLitModel], Options, str]] = [
    (LitPixelCNN, {"num_layers": 0}, "num_layers=0: at least 1"),
    (LitPixelCNN, {"num_filters": -3}, "num_filters=-3: at least 1"),
    (LitPixelCNN, {"kernel_size": 4}, "kernel_size=4: an odd number"),
    (LitPixelCNN, {"first_kernel_size": 1}, "first_kernel_size=1"),
    (LitPixelCNN, {"activation": "tanh"}, "activation='tanh': allowed are relu, prelu"),
    (
        LitPixelCNN,
        {"num_layer": 3},
        "network.num_layer=3: no such option; did you mean num_layers?",
    ),
    (LitPixelCNN, {"name": "gated"}, "network.name=gated: LitPixelCNN is pixelcnn"),
    (LitPixelCNN, {"input": {"name": "bytes"}}, "input.name=bytes: allowed are levels"),
    (
        LitPixelCNN,
        {"likelihood": {"name": "gaussian"}},
        "likelihood.name=gaussian: allowed are bernoulli",
    ),
    (
        LitPixelCNN,
        {"likelihood": {"name": "bernoulli"}},
        "likelihood.name=bernoulli: needs num_levels=2, not 17",
    ),
    (
        LitPixelCNN,
        {"likelihood": {"name": "softmax", "num_logistic_mix": 3}},
        "likelihood.num_logistic_mix=3: no such option",
    ),
    (LitPixelCNN, {"channels": 3, "num_filters": 2}, "num_filters=2: at least 3, one per colour"),
    (LitGatedPixelCNN, {"channels": 3, "num_hidden": 1}, "num_hidden=1: at least 3, one per"),
    (
        LitPixelCNNPP,
        {"channels": 3, "num_filters": 2, "likelihood": {"name": "softmax"}},
        "num_filters=2: at least 3, one per colour",
    ),
    (LitPixelCNN, {"channels": 0}, "channels must be at least 1"),
    (LitPixelCNN, {"num_levels": 1}, "num_levels must be at least 2"),
    (LitGatedPixelCNN, {"num_hidden": 0}, "num_hidden=0: at least 1"),
    (LitGatedPixelCNN, {"num_classes": 0}, "num_classes=0: at least 1"),
    (LitGatedPixelCNN, {"embedding_dim": -1}, "embedding_dim=-1: at least 1"),
    (LitGatedPixelCNN, {"num_classes": 3, "embedding_dim": 3}, "condition on one"),
    (LitGatedPixelCNN, {"label_dropout": 1.0}, "label_dropout=1.0: in [0, 1)"),
    (LitPixelCNNPP, {"num_hierarchies": 4}, "num_hierarchies=4: images of 8x8 allow at most 3"),
    (LitPixelCNNPP, {"num_hierarchies": 0}, "num_hierarchies=0: at least 1"),
    (LitPixelCNNPP, {"num_resnet": 0}, "num_resnet=0: at least 1"),
    (LitPixelCNNPP, {"receptive_field_dims": [2, 3]}, "receptive_field_dims=[2, 3]"),
    (LitPixelCNNPP, {"receptive_field_dims": [3, 4]}, "receptive_field_dims=[3, 4]"),
    (LitPixelCNNPP, {"receptive_field_dims": [3]}, "receptive_field_dims=[3]: [rows, columns]"),
    (LitPixelCNNPP, {"dropout": 1.0}, "dropout=1.0: in [0, 1)"),
    (LitPixelCNNPP, {"resnet_activation": "gelu"}, "resnet_activation='gelu': allowed are"),
    (
        LitPixelCNNPP,
        {"likelihood": {"name": "logistic_mixture", "num_logistic_mix": 0}},
        "likelihood.num_logistic_mix=0: at least 1",
    ),
    (LitPixelCNNAutoencoder, {"latent_dim": 0}, "latent_dim=0: at least 1"),
    (LitPixelCNNAutoencoder, {"name": "vae"}, "network.name=vae: allowed are"),
    (LitPixelCNNAutoencoder, {"num_resnet": 2}, "network.num_resnet=2: no such option"),
]


@pytest.mark.parametrize(("model", "options", "message"), WRONG, ids=str)
def test_a_wrong_argument_is_named_in_one_line(
    model: type[AbstractLitModel], options: Options, message: str
):
    arguments = {"channels": 1, "num_levels": 17, "image_size": [8, 8]} | options
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        model(**nested(arguments))
    assert "\n" not in str(error.value)


ASKED_WRONGLY = [
    ({"cond": torch.tensor([0, 3])}, "cond: labels [3]: allowed are 0 … 2"),
    ({"cond": torch.tensor([-1, 0])}, "cond: labels [-1]: allowed are 0 … 2"),
    ({"cond": torch.tensor([0])}, "cond: (1,) labels for 2 images"),
    ({"cond": torch.tensor([[0.0, 1.0, 0.0], [torch.nan, 0.0, 0.0]])}, "cond: holds values that"),
    ({"cond": torch.zeros(2, 4)}, "cond of shape (2, 4): allowed is (2, 3)"),
    ({"cond": None}, "cond: this model was trained with labels only"),
    ({"temperature": 0.0}, "temperature=0.0: above 0"),
    ({"temperature": float("nan")}, "temperature=nan: above 0"),
    ({"guidance": -1.0}, "guidance=-1.0: at least 0"),
    ({"guidance": 2.0}, "guidance=2.0: needs a model trained with label_dropout"),
    ({"given": torch.ones(4, 4, dtype=torch.bool)}, "given and images belong together"),
    ({"images": torch.zeros(2, 3, 4, 4)}, "given and images belong together"),
    (
        {"given": torch.ones(4, 5, dtype=torch.bool), "images": torch.zeros(2, 3, 4, 4)},
        "given: torch.bool of shape (4, 5)",
    ),
    (
        {"given": torch.ones(4, 4), "images": torch.zeros(2, 3, 4, 4)},
        "given: torch.float32 of shape (4, 4)",
    ),
    (
        {"given": torch.ones(4, 4, dtype=torch.bool), "images": torch.zeros(1, 3, 4, 4).byte()},
        "images: 1 of them to complete, 2 to draw",
    ),
    (
        {"given": torch.ones(4, 4, dtype=torch.bool), "images": torch.full((2, 3, 4, 4), 4)},
        "images hold levels 4 … 4: this model has 0 … 3",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), ASKED_WRONGLY, ids=lambda value: str(value)[:40])
def test_a_wrong_request_for_samples_is_refused_in_one_line(
    arguments: dict[str, object], message: str
):
    [case] = [
        case
        for case in cases(likelihoods=["softmax"], channels=[3], conditionings=["label"])
        if case.variant.name == "gated"
    ]
    model = case.build((4, 4))
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        model.sample(2, **({"cond": torch.tensor([0, 1])} | arguments))
    assert "\n" not in str(error.value)


def test_a_negative_number_of_samples_is_refused_and_none_are_none():
    model = case_of("gated").build((4, 4))
    with pytest.raises(ValueError, match="num_images=-1: at least 0"):
        model.sample(-1)
    assert model.sample(0).shape == (0, 3, 4, 4)


def test_guidance_without_a_condition_is_refused():
    model = LitGatedPixelCNN(
        1, 4, [3, 3], num_classes=2, label_dropout=0.1, network={"num_layers": 1}
    )
    with pytest.raises(ValueError, match=r"guidance=3.0: needs a cond"):
        model.sample(2, guidance=3.0)


def test_floats_are_no_levels():
    with pytest.raises(ValueError, match=r"images of torch.float32: this model takes levels"):
        pp().log_prob(torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize("variant", ["gated", "pp"])
def test_a_model_in_double_precision_is_exact_to_double_precision(variant: str):
    model = case_of(variant).build((4, 5))
    images = random_images(model, 3)
    with torch.no_grad():
        single = model.log_prob(images)
        double = model.double().log_prob(images)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-5, atol=1e-4)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but")  # no images for it
def test_plain_loaders_need_a_model_that_is_not_initialised_from_data():
    loader = DataLoader([{"image": torch.zeros(1, 8, 8, dtype=torch.uint8)}])
    trainer = Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match=r"network\.data_init=True: needs a data"):
        trainer.fit(pp(), loader)


@pytest.mark.parametrize("size", [[1, 1], [1, 8], [8, 1]])
def test_training_on_lines_of_pixels_does_not_explode(size: list[int]):
    torch.manual_seed(0)
    model = pp(image_size=size, num_hierarchies=1)
    images = torch.randint(17, (32, 1, *size), dtype=torch.uint8)
    initialise(model.network, model.input(images))
    optimizer = Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(10):
        loss = -model.log_prob(torch.randint(17, (32, 1, *size), dtype=torch.uint8)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses) < 1.5 * losses[0]
