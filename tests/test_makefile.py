"""What `make` runs, as `make --dry-run` prints it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def dry_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    outside = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKEOVERRIDES", "ARGS")
    }
    return subprocess.run(
        command, cwd=ROOT, env=outside, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("target", ["train", "slurm"])
def test_a_recipe_takes_the_place_of_variant_data_and_size(target: str):
    options = dry_run(target, "EXPERIMENT=cifar10_pp", "ARGS=seed=1").stdout.split()
    assert options[-2:] == ["experiment=cifar10_pp", "seed=1"]
    assert not [option for option in options if option.startswith(("model=", "data=", "size="))]


@pytest.mark.parametrize("target", ["train", "slurm"])
def test_without_a_recipe_variant_data_and_size_are_passed_on(target: str):
    options = dry_run(target, "VARIANT=gated", "SIZE=paper", "ARGS=seed=1").stdout.split()
    assert options[-4:] == ["model=gated", "data=digits", "size=paper", "seed=1"]


@pytest.mark.parametrize("target", ["train", "slurm"])
def test_a_variant_beside_a_recipe_is_refused(target: str):
    run = dry_run(target, "EXPERIMENT=cifar10_pp", "VARIANT=gated")
    assert run.returncode != 0
    assert "EXPERIMENT=cifar10_pp says what VARIANT is; leave VARIANT=gated out" in run.stderr


@pytest.mark.parametrize("target", ["sample", "evaluate"])
def test_a_run_is_one_option_whatever_its_name(target: str):
    words = shlex.split(dry_run(target, "RUN=runs/my run/epoch=029.ckpt").stdout.splitlines()[-1])
    assert words == [".venv/bin/pixelcnn-lit", target, "checkpoint=runs/my run/epoch=029.ckpt"]


def test_a_sweep_may_be_a_file_of_the_users_own():
    ran = dry_run("sweep", "SWEEP=my sweeps/mine.yaml").stdout.replace("\\\n", "")
    assert shlex.split(ran.splitlines()[-1]) == [
        ".venv/bin/pixelcnn-lit",
        "sweep",
        "my sweeps/mine.yaml",
    ]
