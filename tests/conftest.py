"""What tests of every kind share; the variants are listed in variants.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


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
