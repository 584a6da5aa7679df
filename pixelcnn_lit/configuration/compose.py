"""conf/ and the words of a command line, composed by Hydra; its errors in one line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pixelcnn_lit.configuration.resolvers import register_resolvers
from pixelcnn_lit.configuration.wording import suggest, unknown
from pixelcnn_lit.messages import OptionError

CONF_DIR = Path(__file__).resolve().parents[2] / "conf"


def compose_config(config_name: str, overrides: list[str]) -> DictConfig:
    """Composes conf/``config_name``.yaml with ``overrides`` as the command line would.

    Raises:
        OptionError: one line that names the option, its value and what is allowed.
    """
    if not CONF_DIR.is_dir():
        raise OptionError(
            f"{CONF_DIR}: not there; the commands work from a checkout (pip install -e .)"
        )
    _check_groups(overrides)
    register_resolvers()
    try:
        return _compose(config_name, overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise OptionError(_explain(error, config_name, overrides)) from error


def _check_groups(overrides: list[str]) -> None:
    """A recipe would win over a size without a word."""
    chosen = dict(o.split("=", 1) for o in overrides if "=" in o)
    if "size" in chosen and chosen.get("experiment", "null") != "null":
        raise OptionError(
            f"size={chosen['size']}: experiment={chosen['experiment']} sets every size; leave one"
            " of them out, or override single options (model.num_filters=32)"
        )


def _compose(config_name: str, overrides: list[str]) -> DictConfig:
    if GlobalHydra.instance().is_initialized():
        GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose(config_name, overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config


def _explain(error: Exception, config_name: str, overrides: list[str]) -> str:
    """Hydra's errors in one line."""
    message = str(error)
    if found := re.search(r"Could not override '([^']+)'", message):
        return _explain_unknown_key(found[1], config_name, overrides)
    if "Config group override must be" in message:  # it does not say which
        for override in overrides:
            group, _, value = override.partition("=")
            if (CONF_DIR / group).is_dir() and value not in _choices(group):
                return f"{override}: {group} may be {', '.join(_choices(group))}, or be left out"
    if found := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", message):
        group, choice = found.groups()
        choices = _choices(group)
        allowed = f"{group} may be {', '.join(choices)}"
        return f"{group}={choice}: no such choice{suggest(choice, choices)}; {allowed}"
    return message


def _choices(group: str) -> list[str]:
    """The files of a group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def _parameters_of(node: DictConfig) -> Mapping[str, inspect.Parameter]:
    """What the ``_target_`` of a node takes; nothing where there is none."""
    return inspect.signature(get_object(node._target_)).parameters if "_target_" in node else {}


def _explain_unknown_key(key: str, config_name: str, overrides: list[str]) -> str:
    override = next((o for o in overrides if o.split("=")[0].split("@")[0] == key), key)
    others = [o for o in overrides if o != override]
    parent, _, name = key.rpartition(".")
    config = compose_config(config_name, others)
    node = OmegaConf.select(config, parent) if parent else config
    while node is None and parent:  # the mistake may lie further up
        parent, _, name = parent.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig):
        return f"{override}: {parent} has no options of its own"
    if name in node:
        return f"{override}: {f'{parent}.{name}'.strip('.')} is null here, it has no options"
    if not parent and (CONF_DIR / name).is_dir():
        choices = "|".join(_choices(name))
        return f"{override}: {name} is null here; choose {name}={choices} with it"
    if name in _parameters_of(node):
        return f"{override}: not set so far; to set it, write +{override}"
    allowed = [str(key) for key in node if not str(key).startswith("_")]
    return f"{override}: {unknown(name, parent, allowed)}"
