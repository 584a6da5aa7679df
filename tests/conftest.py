"""What tests of every kind share; the variants are listed in variants.py."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import forkserver
import pytest
import torch
from filelock import FileLock


def pytest_configure(config: pytest.Config) -> None:
    """One fork server for all processes of pytest-xdist."""
    if getattr(config.option, "numprocesses", None):
        os.environ[forkserver.ADDRESS] = forkserver.address()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process of pytest-xdist is at work long after the other."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    longest: Counter[Path] = Counter()
    for item in items:
        if marker := item.get_closest_marker("timeout"):
            longest[item.path] = max(longest[item.path], marker.args[0])
    number = Counter(item.path for item in items)
    # the fork server takes its time to begin: laws, which ask nothing of it, before all others
    laws = {path: path.name.startswith("test_laws") for path in number}
    items.sort(key=lambda i: (not laws[i.path], -longest[i.path], -number[i.path]))


def pytest_collection_finish() -> None:
    """What has been imported stays: the garbage collector need not look through it again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test begins with the same random numbers."""
    torch.manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Models and random numbers in float64, for laws that hold to the last digits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run that has learnt the digits, by variant; trained by who asks first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all processes have

    def trained(variant: str) -> Path:
        from tiny_runs import NUM_DIGITS_EPOCHS, train_with

        run_dir = folder / f"digits-{variant}"
        with FileLock(f"{run_dir}.lock"):
            if not run_dir.exists():
                options = [f"model={variant}", "data=digits", "size=small", "trainer=cpu"]
                absent = ("samples", "reconstructions", "curve", "progress")
                options += ["logger=none", *(f"callbacks.{name}=null" for name in absent)]
                epochs = f"trainer.max_epochs={NUM_DIGITS_EPOCHS[variant]}"
                train_with(options, folder / f"unfinished-{variant}", epochs)
                (folder / f"unfinished-{variant}").rename(run_dir)
        return run_dir

    return trained
