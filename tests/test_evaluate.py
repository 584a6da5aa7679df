"""What `pixelcnn-lit evaluate` measures, and how it refuses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.table import Table
from tiny_runs import write_checkpoint

from pixelcnn_lit import configuration
from pixelcnn_lit.commands.evaluate import EvaluateOptions, evaluate, summary_table
from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.data import DigitsDataModule
from pixelcnn_lit.messages import OptionError, print_table
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
def measure(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Evaluates the run's best checkpoint; returns the rows of the table that it prints."""

    def run(*overrides: str) -> dict[str, str]:
        tables: list[Table] = []
        monkeypatch.setattr("pixelcnn_lit.commands.evaluate.print_table", tables.append)
        config = compose_config("evaluate", [f"checkpoint={run_dir}", "device=cpu", *overrides])
        configuration.check(config, EvaluateOptions)
        evaluate(config)
        [table] = tables
        return rows(table)

    return run


def rows(table: Table) -> dict[str, str]:
    """The table but for how long it took."""
    names, values = (map(str, column.cells) for column in table.columns)
    return {name: value.split(" in ")[0] for name, value in zip(names, values, strict=True)}


def test_all_images_are_measured_whatever_the_environment_says_of_processes(measure, monkeypatch):
    alone = measure()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert measure() == alone


def test_bits_per_dim_are_those_of_all_images_in_one_batch(measure, run_dir):
    data = DigitsDataModule(**DIGITS, batch_size=2000)
    [batch] = data.test_dataloader()
    with torch.no_grad():
        log_prob = load_model(run_dir).log_prob(batch["image"], batch["label"]).double()
        of_others = load_model(run_dir).log_prob(batch["image"], (batch["label"] + 1) % 10)
    assert (log_prob - of_others).abs().mean() > 1  # the labels matter
    bits = -log_prob.mean().item() / (64 * math.log(2))
    error = log_prob.std().item() / math.sqrt(180) / (64 * math.log(2))
    measured = measure("data=digits", "data.batch_size=50")  # 180 is no multiple
    assert measured["test bits/dim"] == f"{bits:.4f} ± {error:.4f}"
    assert measured["nats/dim"] == f"{bits * math.log(2):.4f}"
    assert measured["images"] == "180"


def test_the_run_s_own_data_are_taken_unless_others_are_named(measure, run_dir):
    own = measure()
    assert own == measure("data=digits")
    of_file = measure(f"checkpoint={run_dir / 'checkpoints' / 'best.ckpt'}")
    assert of_file["nats/image"] == own["nats/image"]
    assert own != measure("data=digits", "data.max_examples=100")


def test_every_split_can_be_measured_and_cut_short(measure):
    assert measure("split=val")["images"] == "180"
    assert measure("split=train", "max_images=70")["images"] == "70"


def test_one_image_has_no_standard_error():
    options = EvaluateOptions("x", "test", None, "cpu")
    table = rows(summary_table(torch.tensor([-64.0]), 64, options, 1.0))
    assert table["test bits/dim"] == f"{1 / math.log(2):.4f} ± nan"
    assert table["nats/dim"] == "1.0000"


def test_a_table_shows_whole_paths_where_there_is_no_terminal(capsys):
    table = Table("checkpoint")
    table.add_row("a/long/path" * 10)
    print_table(table)
    assert "a/long/path" * 10 in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "overrides"),
    [
        ("max_images", ["max_images=0"]),
        ("split", ["split=all"]),
        ("num_classes", ["data=digits", "data.classes=[1,2]"]),
        ("data.num_classes", ["data=digits", "data.num_classes=null"]),
        ("data.channels", ["data=cifar10"]),
        ("checkpoint", ["checkpoint=nowhere"]),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line_that_names_the_option(
    measure, option: str, overrides: list[str]
):
    with pytest.raises(OptionError, match=rf"^[^\n]*\b{re.escape(option)}[=:][^\n]*$"):
        measure(*overrides)
