"""conf/ and the options of a command line, composed by Hydra; its errors in one line."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pixelcnn_lit.configuration.resolvers import register_resolvers
from pixelcnn_lit.configuration.wording import closest, explain_omegaconf, unknown
from pixelcnn_lit.messages import OptionError


def _place(name: str) -> Path:
    """Inside of an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


CONF_DIR = _place("conf")
SWEEPS_DIR = _place("sweeps")


def compose_config(
    config_name: str, overrides: list[str], config_dir: str | None = None
) -> DictConfig:
    """Composes conf/``config_name``.yaml with ``overrides`` as the command line would.

    Args:
        config_name: file in conf/, without its ending.
        overrides: in Hydra's grammar.
        config_dir: folder with files of the user's own, in groups as those of conf/.

    Raises:
        OptionError: one line that names the option, its value and what is allowed.
    """
    if config_dir and not Path(config_dir).is_dir():
        raise OptionError(f"--config-dir={config_dir}: there is no such folder")
    _check_groups(overrides)
    register_resolvers()
    GlobalHydra.instance().clear()
    own = config_dir and json.dumps(f"file://{Path(config_dir).resolve()}")
    search = [f"hydra.searchpath=[{own}]"] if own else []
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = compose(config_name, overrides=[*overrides, *search], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # Hydra raises all
        if found := re.search(r"Could not override '([^']+)'", str(error)):
            told = _explain_unknown_key(found[1], config_name, overrides, config_dir)
        else:
            told = _explain(error, overrides, config_dir)
        raise OptionError(told) from error
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config


def as_group(override: str) -> str:
    """``model.network=pp`` is ``model/network=pp``: names of W&B's sweeps have no slash."""
    key, _, value = override.partition("=")
    group = key.replace(".", "/")
    names_a_choice = "." in key and value[:1] not in ("{", "") and value != "null"
    names_a_choice = names_a_choice and (CONF_DIR / group).is_dir()
    return f"{group}={value}" if names_a_choice else override


def choices_of(group: str, config_dir: str | None = None) -> list[str]:
    """The files of a group of conf/, and of the user's own."""
    folders = [CONF_DIR, *([Path(config_dir)] if config_dir else [])]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _check_groups(overrides: list[str]) -> None:
    """A recipe would win over a size without a word."""
    chosen = dict(o.split("=", 1) for o in overrides if "=" in o)
    if "size" in chosen and chosen.get("experiment", "null") != "null":
        raise OptionError(
            f"size={chosen['size']}: experiment={chosen['experiment']} sets every size; leave one"
            " of them out, or override single options (model.network.num_filters=32)"
        )


def _explain(error: Exception, overrides: list[str], config_dir: str | None) -> str:
    message = str(error)
    if "Config group override must be" in message:  # it does not say which
        for override in overrides:
            group, _, value = override.partition("=")
            choices = choices_of(group, config_dir)
            if choices and value not in choices:
                return f"{override}: {group} may be {', '.join(choices)}, or be left out"
    if found := re.search(r"Could not (?:find|load) '([^']+)/([^'/]*)'", message):
        group, choice = found.groups()
        if choices := choices_of(group, config_dir):
            close = closest(choice, choices)
            meant = f"; did you mean {close}?" if close else ""
            return f"{group}={choice}: no such choice{meant}; {group} may be {', '.join(choices)}"
    return explain_omegaconf(error) if isinstance(error, OmegaConfBaseException) else message


def _explain_unknown_key(
    key: str, config_name: str, overrides: list[str], config_dir: str | None
) -> str:
    """What is wrong with an option, found out by composing without it."""
    override = next((o for o in overrides if key in re.findall(r"^(([^=@]*)[^=]*)", o)[0]), None)
    if override is None:  # then it is a file in conf/ that is wrong
        return f"{key}: no such option in {config_name}.yaml"
    config = compose_config(config_name, [o for o in overrides if o != override], config_dir)
    chosen = HydraConfig.get().runtime.choices
    if key in _MOVED and _MOVED[key].partition("=")[0].partition("/")[0] in chosen:
        return f"{override}: no such option; it is {_MOVED[key]} now"
    if "/" in key:
        groups = ", ".join(sorted(g for g in chosen if not re.search("@|^hydra", g)))
        return f"{override}: no such group here; there are {groups}"
    parent, name = key, ""
    node = None
    while node is None and parent:  # the mistake may lie further up
        parent, _, name = parent.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig):
        return f"{override}: {parent} has no options of its own"
    if name in node:
        return f"{override}: {f'{parent}.{name}'.strip('.')} is null here, it has no options"
    if not node:
        others = [c for c in choices_of(parent, config_dir) if c != chosen.get(parent)]
        return (
            f"{override}: {parent}={chosen.get(parent, '{}')} has no options"
            f"{f'; {parent} may also be ' if others else ''}{', '.join(others)}"
        )
    if not parent and name in chosen:
        choices = "|".join(choices_of(name, config_dir))
        return f"{override}: {name} is null here; choose {name}={choices} with it"
    allowed = [str(key) for key in node if not str(key).startswith("_")]
    takes = inspect.signature(get_object(node._target_)).parameters if "_target_" in node else {}
    if name in takes and not closest(name, allowed, cutoff=0.9):
        return f"{override}: not set so far; to set it, write +{override}"
    if not parent:
        allowed += [g for g in chosen if not re.search("[@/]", g) and g not in allowed]
    deeper = _below(OmegaConf.to_container(node), parent)
    return f"{override}: {unknown(name, parent, allowed, deeper)}"


_MOVED = {
    "model.decoder": "model/network",
    "given": "task=complete task.given",
    "num_completions": "task=complete task.num_completions",
    "interpolate": "task=interpolate task.ends",
    "steps": "task=interpolate task.steps",
}
"""Options of earlier versions that now stand where no option of that name is found."""


def _below(node: object, path: str) -> Iterator[str]:
    """The keys of a node and of those in it, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{path}.{key}".strip(".")
            yield from _below(value, f"{path}.{key}")
