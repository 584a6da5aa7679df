"""The bugs of `make mutants` can be planted: the code they change is where they look for it."""

from __future__ import annotations

import pytest
from mutants import MUTANTS, Mutant, mutated


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_bug_finds_the_code_that_it_changes(mutant: Mutant) -> None:
    assert mutant.new in mutated(mutant)
