"""`make train` on the digits: a few minutes on a CPU make every variant a good model of them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.training import train

NUM_EPOCHS = {"pixelcnn": 10, "gated": 11, "pp": 8, "autoencoder": 11}
WITHOUT_PICTURES = [
    f"callbacks.{name}=null" for name in ("samples", "reconstructions", "curve", "progress")
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", NUM_EPOCHS)
def test_every_variant_needs_at_most_1_85_bits_per_dim_of_the_test_digits(
    model: str, tmp_path: Path
):
    run_dir = tmp_path / "run"
    options = [f"model={model}", "data=digits", "size=small", "trainer=cpu", "logger=none"]
    epochs = f"trainer.max_epochs={NUM_EPOCHS[model]}"
    train(compose_config("train", [*options, epochs, f"run_dir={run_dir}", *WITHOUT_PICTURES]))
    with (run_dir / "metrics.csv").open(newline="") as file:
        [measured] = [row for row in csv.DictReader(file) if row["test/bits_per_dim"]]
    # 17 levels: 4.09 bits for who knows nothing; below 1.5 only for who sees the pixel itself
    assert 1.5 < float(measured["test/bits_per_dim"]) <= 1.85
