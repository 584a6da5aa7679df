from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from omegaconf import OmegaConf
from small_sets import random_images, write_split

from pixelcnn_lit import configuration
from pixelcnn_lit.training.options import RunOptions

FOLDER = configuration.CONF_DIR / "experiment"
EXPERIMENTS = sorted(file.stem for file in FOLDER.glob("*.yaml"))
RECIPES = {
    "mnist_binary_pixelcnn",
    "mnist_colored_pixelcnn",
    "mnist_pixelcnn_prelu",
    "cifar10_gated",
    "cifar10_pp",
    "cifar10_pixelcnn_logistic",
    "quickdraw_pp",
    "imagenet32_gated",
    "imagenet64_gated",
    "imagenet32_autoencoder",
}
LAYERS = ["model.network.num_layers=1", "model.network.num_filters=6", "model.network.num_hidden=6"]
TINY = {
    "LitPixelCNN": LAYERS,
    "LitGatedPixelCNN": LAYERS,
    "LitPixelCNNPP": ["model.network.num_resnet=1", "model.network.num_filters=6"],
    "LitPixelCNNAutoencoder": [*LAYERS, "model.num_encoder_filters=2"],
}
"""What makes the networks of the papers small enough for a test."""


@cache
def compose(name, *overrides):
    return configuration.compose_config("train", [f"experiment={name}", *overrides])


def write_images(folder, config):
    """A handful of random images of the experiment's shape, in the file its data come in."""
    height, width = config.data.image_size
    channels = 1 if "mnist" in config.data.path else config.data.channels
    names = config.data.get("classes") or [str(n) for n in range(config.data.num_classes)]
    for split in ("train", "validation", "test"):
        images = random_images(8, channels, [height, width], 256)
        write_split(folder, split, images, torch.arange(8), class_names=list(names))


def run_of(name, folder):
    """The experiment with tiny networks, on images in ``folder``, for one step on the CPU."""
    overrides = [
        f"data.path={folder / 'images'}",
        f"data.cache_dir={folder / 'cache'}",
        "data.batch_size=4",
        "data.num_workers=0",
        "data.val_fraction=0.0",
        f"run_dir={folder / 'run'}",
        "trainer=cpu",
        "trainer.precision=32-true",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=1",
    ]
    model = compose(name).model._target_.split(".")[-1]
    config = compose(name, *overrides, *TINY[model])
    configuration.check(config, RunOptions)
    return config


def test_every_known_recipe_is_there():
    assert set(EXPERIMENTS) == RECIPES


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_and_every_key_and_type_is_right(name):
    config = compose(name)
    configuration.check(config, RunOptions)
    assert config.data.path not in (None, "digits")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_begins_with_its_command_the_published_number_and_ours(name):
    head = [line for line in (FOLDER / f"{name}.yaml").read_text().splitlines() if line[:1] == "#"]
    assert head[0] == "# @package _global_"
    commands = (
        f"python -m pixelcnn_lit train experiment={name}",
        f"make slurm EXPERIMENT={name}",
    )
    assert head[1].removeprefix("# ").startswith(commands)
    assert sum(line.startswith(("# Paper:", "# Published:")) for line in head) == 1
    assert sum(line.startswith("# Ours:") for line in head) == 1


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_a_record_that_does_not_lean_on_defaults(name):
    record = OmegaConf.load(FOLDER / f"{name}.yaml")
    groups = {key for entry in record.defaults for key in entry}
    needed = {"override /data", "override /model", "override /model/scheduler", "override /size"}
    assert needed <= groups
    assert {"override /size": "paper"} in record.defaults
    for key in (
        "data.batch_size",
        "trainer.max_epochs",
        "trainer.precision",
    ):
        assert OmegaConf.select(record, key) is not None, key
    assert "gradient_clip_val" in record.trainer
    assert "average" in record.callbacks


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_an_experiment_says_of_its_model_differs_from_the_papers(name):
    """An option has one place; the run folder's config.yaml records all of them."""
    record = OmegaConf.load(FOLDER / f"{name}.yaml")
    groups = ("/data", "/model", "/model/likelihood", "/model/optimizer", "/model/scheduler")
    chosen = {key.split()[-1]: choice for entry in record.defaults for key, choice in entry.items()}
    words = [f"{group[1:]}={chosen[group]}" for group in groups if group in chosen]
    paper = configuration.compose_config("train", [*words, "size=paper"])
    stated = OmegaConf.to_container(OmegaConf.create({"model": record.get("model") or {}}))
    for path, value in leaves(stated, ""):
        assert OmegaConf.select(paper, path) != value, path


def leaves(node: object, path: str) -> list[tuple[str, object]]:
    """The values of nested dicts, by their dotted names."""
    if not isinstance(node, dict):
        return [(path, node)]
    return [
        leaf for key, value in node.items() for leaf in leaves(value, f"{path}.{key}".strip("."))
    ]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_takes_another_schedule(name):
    config = compose(name, "model/scheduler=cosine", "trainer.max_steps=10")
    configuration.check(config, RunOptions)
    assert config.model.scheduler._target_.endswith("cosine")


def test_a_size_beside_an_experiment_is_refused():
    with pytest.raises(ValueError, match=r"^size=small: experiment=cifar10_pp sets every size"):
        compose("cifar10_pp", "size=small")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_trains_one_step_on_images_of_its_shape(name, tmp_path):
    write_images(tmp_path / "images", compose(name))
    config = run_of(name, tmp_path)
    data = configuration.build(config, "data")
    model = configuration.build(config, "model")
    trainer = configuration.build(config, "trainer")(
        logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    trainer.fit(model, data)
    assert trainer.global_step == 1
    assert trainer.gradient_clip_val == compose(name).trainer.gradient_clip_val
    [group] = trainer.optimizers[0].param_groups
    assert group["initial_lr"] == compose(name).model.optimizer.lr
    assert math.isfinite(trainer.callback_metrics["val/bits_per_dim"])
    channels, (height, width) = config.data.channels, config.data.image_size
    assert data.first_batch()["image"].shape == (4, channels, height, width)


@pytest.mark.parametrize("name", ["quickdraw_pp", "cifar10_pp"])
def test_only_the_recipes_that_say_so_are_conditioned_on_the_class(name):
    assert compose(name).model.num_classes == {"quickdraw_pp": 20, "cifar10_pp": None}[name]


@pytest.mark.slow
def test_the_cifar10_network_has_the_size_of_the_papers():
    model = configuration.build(compose("cifar10_pp"), "model")
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(53.66e6, rel=1e-4)
