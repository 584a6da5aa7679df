"""The diagram of the package: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pixelcnn_lit"
FLOORS = [
    {"images", "messages", "files"},
    {"progress", "layers"},
    {"likelihoods", "networks"},
    {"sampling", "metrics", "checkpoints"},
    {"models", "data"},
    {"loggers", "matching"},
    {"callbacks"},
    {"drawing"},
    {"configuration"},
    {"training"},
    {"trials"},
    {"commands"},
    {"__main__"},
]
LOWEST_FLOOR_OF = {"lightning": 3, "hydra": 8, "omegaconf": 8, "wandb": 5}


def floor(module: str) -> int:
    return next((i for i, names in enumerate(FLOORS) if module in names), len(FLOORS))


def imports(file: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    modules = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    for node in (n for n in nodes if isinstance(n, ast.ImportFrom)):
        assert node.level == 0, f"{file}: relative import"
        package = node.module == "pixelcnn_lit"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        modules += names if package else [str(node.module)]
    return modules


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_a_file_imports_only_from_lower_floors(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for module in imports(file):
        first, *rest = module.split(".")
        if first == "pixelcnn_lit" and rest[0] != own and floor(own) < len(FLOORS):
            assert floor(rest[0]) < floor(own), f"{own} imports {rest[0]}"
        assert floor(own) >= LOWEST_FLOOR_OF.get(first, 0), f"{own} imports {first}"
        assert first != "datasets" or own == "data", f"{own} imports datasets"


def test_every_room_and_module_is_on_a_floor_and_no_other_stands_loose() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__init__", "__pycache__"} == set().union(*FLOORS)
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert len(loose) <= 7


def test_no_file_is_longer_than_350_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert max(lengths.values()) <= 350, max(lengths, key=lambda path: lengths[path])


def test_networks_likelihoods_and_sampling_need_no_framework() -> None:
    """In an interpreter of its own: here everything is imported already."""
    rooms = "import sys, pixelcnn_lit.networks, pixelcnn_lit.likelihoods, pixelcnn_lit.sampling"
    shown = "print(*{'lightning', 'hydra', 'wandb', 'datasets'} & set(sys.modules))"
    command = [sys.executable, "-c", f"{rooms}; {shown}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
