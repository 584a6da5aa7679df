"""The diagram of the package: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pixelcnn_lit"
FLOORS = [
    {"images", "messages", "files"},
    {"progress", "layers", "matching"},
    {"likelihoods", "networks"},
    {"sampling", "metrics", "checkpoints"},
    {"models", "data"},
    {"loggers"},
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
