"""`pixelcnn-lit COMMAND key=value …`, the same as `python -m pixelcnn_lit COMMAND key=value …`."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from pathlib import Path

from pixelcnn_lit import commands


def descriptions() -> dict[str, str]:
    """Every command and the first line of its file, which is read and not imported."""
    [folder] = commands.__path__
    described = {}
    for module in pkgutil.iter_modules([folder]):
        tree = ast.parse((Path(folder) / f"{module.name}.py").read_text())
        described[module.name] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return described


def _run(name: str) -> None:
    from pixelcnn_lit import configuration  # the list of commands does without

    door = f"pixelcnn_lit.commands.{name}"
    if (configuration.CONF_DIR / f"{name}.yaml").exists():
        configuration.run(name, lambda: importlib.import_module(door).COMMAND)
    else:
        importlib.import_module(door).main()


def main() -> None:
    """Runs a command; without one, lists them."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    described = descriptions()
    if name in described:
        _run(name)
    elif name in (None, "-h", "--help"):
        width = max(map(len, described))
        print("usage: pixelcnn-lit COMMAND key=value …\n")
        for command, what in described.items():
            print(f"  {command:{width}}  {what}")
        print("\npixelcnn-lit COMMAND --help says more about one.")
    else:
        print(f"error: {name}: no such command; there are {', '.join(described)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
