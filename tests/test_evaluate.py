"""What `python -m pixelcnn_lit evaluate` measures, and how it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_runs import write_checkpoint

from pixelcnn_lit import configuration
from pixelcnn_lit.commands.evaluate import EvaluateOptions, evaluate, summary_table
from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.data import DigitsDataModule
from pixelcnn_lit.models import LitPixelCNN, load_model
from pixelcnn_lit.training.folder import open_run_dir

DIGITS = {"channels": 1, "num_levels": 17, "image_size": [8, 8], "num_classes": 10}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a checkpoint and a configuration."""
    run_dir = tmp_path_factory.mktemp("evaluate") / "run"
    open_run_dir(run_dir, compose_config("train", ["trainer=cpu", f"run_dir={run_dir}"]))
    torch.manual_seed(0)
    model = LitPixelCNN(**DIGITS, network={"num_filters": 4, "num_layers": 1, "num_hidden": 4})
    for parameter in model.parameters():  # an untrained model hardly reads its label
        torch.nn.init.normal_(parameter, std=0.8)
    write_checkpoint(model, run_dir / "checkpoints" / "best.ckpt")
    return run_dir


@pytest.fixture
def measure(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Evaluates the run's best checkpoint; returns what was printed."""

    def run(*overrides: str) -> str:
        config = compose_config("evaluate", [f"checkpoint={run_dir}", "device=cpu", *overrides])
        configuration.check(config, EvaluateOptions)
        evaluate(config)
        return capsys.readouterr().out

    return run


def rows(printed: str) -> list[str]:
    """The lines of the table that do not tell how long it took."""
    return [line for line in printed.splitlines() if "bits" in line or "nats" in line]


def test_all_images_are_measured_whatever_the_environment_says_of_processes(measure, monkeypatch):
    alone = rows(measure())
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert rows(measure()) == alone


def test_bits_per_dim_are_those_of_all_images_in_one_batch(measure, run_dir):
    data = DigitsDataModule(batch_size=2000)
    [batch] = data.test_dataloader()
    with torch.no_grad():
        log_prob = load_model(run_dir).log_prob(batch["image"], batch["label"]).double()
        of_others = load_model(run_dir).log_prob(batch["image"], (batch["label"] + 1) % 10)
    assert (log_prob - of_others).abs().mean() > 1  # the labels matter
    bits = -log_prob.mean().item() / (64 * math.log(2))
    error = log_prob.std().item() / math.sqrt(180) / (64 * math.log(2))
    printed = measure("data=digits", "data.batch_size=50")  # 180 is no multiple
    assert f"test bits/dim │ {bits:.4f} ± {error:.4f}" in printed
    assert f"nats/dim      │ {bits * math.log(2):.4f}" in printed
    assert "180 in" in printed


def test_the_run_s_own_data_are_taken_unless_others_are_named(measure):
    own, named = rows(measure()), rows(measure("data=digits"))
    assert own == named
    assert len(own) == 3
    assert rows(measure("data=digits", "data.max_examples=100")) != own


def test_every_split_can_be_measured_and_cut_short(measure):
    assert "│ 180 in" in measure("split=val")
    assert "│ 70 in" in measure("split=train", "max_images=70")


def test_one_image_has_no_standard_error():
    options = EvaluateOptions("x", "test", None, "cpu")
    table = summary_table(torch.tensor([-64.0]), 64, options, 1.0)
    values = list(table.columns[1].cells)
    assert values[:2] == [f"{1 / math.log(2):.4f} ± nan", "1.0000"]


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["max_images=0"], "max_images=0: at least 1, or null for all"),
        (["split=all"], "split=all: must be train or val or test"),
        (["data=digits", "data.classes=[1,2]"], "num_classes=10 is wrong: the data have 2"),
        (["data=digits", "data.num_classes=null"], "data.num_classes=None: the model was trained"),
        (["data=cifar10"], "data.channels=3: the model was trained with channels=1"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(measure, overrides, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        measure(*overrides)
    assert "\n" not in str(caught.value)
