"""A sweep's file: what is tried, how, and what is minimised, as W&B has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from pixelcnn_lit.configuration import CONF_DIR, SWEEPS_DIR
from pixelcnn_lit.messages import OptionError, one_line


@dataclass(frozen=True)
class Sweep:
    """A file in sweeps/, or one of the user's own.

    Args:
        path: of the file.
        config: its content, as W&B takes it.
        metric: what is minimised.
    """

    path: Path
    config: dict[str, object]
    metric: str


def read_sweep(name: str) -> Sweep:
    """Reads a sweep's file.

    Args:
        name: a file in sweeps/, without its ending, or the path of another YAML file.

    Raises:
        OptionError: if there is none, it cannot be read, or it does not say what is minimised.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SWEEPS_DIR / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in SWEEPS_DIR.glob("*.yaml")))
        raise OptionError(f"SWEEP={name}: no such sweep; there are {known}, or FILE.yaml")
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"SWEEP={name}: cannot be read ({one_line(error)})") from error
    metric = config.get("metric") if isinstance(config, dict) else None
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        raise OptionError(f"SWEEP={name}: metric.name must be given, as val/bits_per_dim")
    if metric.get("goal", "minimize") != "minimize":
        raise OptionError(f"SWEEP={name}: metric.goal={metric['goal']}: must be minimize")
    # a group is model/network to Hydra; W&B allows no slash, and our command line takes a dot, too
    parameters = config.get("parameters")
    if not isinstance(parameters, dict) or not all(isinstance(name, str) for name in parameters):
        raise OptionError(f"SWEEP={name}: parameters must be given, by name")
    ours = {name: name.replace("/", ".") for name in parameters if (CONF_DIR / name).is_dir()}
    tried = {ours.get(name, name): of for name, of in parameters.items()}
    return Sweep(path, {**config, "parameters": tried}, metric["name"])
