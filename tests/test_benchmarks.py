"""The benchmarks run, and say what they say they measure."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import forkserver
import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_data_benchmark_closes_with_its_summary() -> None:
    ended = forkserver.run(str(BENCHMARKS / "data.py"), "--num-images", "2000")
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout
    last = said.splitlines()[-1]
    assert re.match(r"data: in memory [\d,]+ images/s, streaming [\d,]+ images/s", last)
    [selected, decoded] = re.findall(r"(\d+) selected and used, (\d+)\s+decoded", said)[0]
    assert 0 < int(decoded) == int(selected) < 2000  # rejected rows cost no decoding


def test_the_sampling_benchmark_measures_every_cost() -> None:
    benchmark = runpy.run_path(str(BENCHMARKS / "sampling.py"))
    case = next(case for case in benchmark["CASES"] if case.name == "PixelCNN 5/64")
    model = benchmark["prepare"](case, torch.device("cpu"))
    costs = benchmark["measure"](model, 1)
    assert min(costs.forward, costs.cached, costs.naive, costs.memory) > 0
    assert len(benchmark["cells"](case, model, costs)) == len(benchmark["HEADER"])


def test_the_training_benchmark_compares_every_model_with_its_textbook() -> None:
    ended = forkserver.run(str(BENCHMARKS / "training.py"), "--cases", "digits")
    assert ended.returncode == 0, ended.stderr
    last = ended.stdout.splitlines()[-1]
    assert re.fullmatch(r"digits on cpu: [\d.]+( and [\d.]+)* times the textbook's step", last)
    rows = [line for line in ended.stdout.splitlines() if line.startswith("PixelCNN++ 1/32/5")]
    assert sum("64 of 8×8×1" in row for row in rows) == len(rows) - 2  # the counts of both models
