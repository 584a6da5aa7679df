"""conf/ and the options of a command line, composed by Hydra; its errors in one line."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pixelcnn_lit.configuration.places import CONF_DIR
from pixelcnn_lit.configuration.resolvers import register_resolvers
from pixelcnn_lit.configuration.wording import explain_omegaconf, suggest, unknown
from pixelcnn_lit.messages import OptionError


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
    return _Composer(config_name, config_dir).compose(overrides)


def choices_of(group: str, config_dir: str | None = None) -> list[str]:
    """The files of a group of conf/, and of the user's own."""
    folders = [CONF_DIR, *([Path(config_dir)] if config_dir else [])]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


class _Composer:
    """Composes, and finds out what was wrong by composing without it."""

    def __init__(self, config_name: str, config_dir: str | None) -> None:
        if config_dir and not Path(config_dir).is_dir():
            raise OptionError(f"--config-dir={config_dir}: there is no such folder")
        self._config_name, self._config_dir = config_name, config_dir

    def compose(self, overrides: list[str]) -> DictConfig:
        _check_groups(overrides)
        register_resolvers()
        if GlobalHydra.instance().is_initialized():
            GlobalHydra.instance().clear()
        own = self._config_dir and json.dumps(f"file://{Path(self._config_dir).resolve()}")
        search = [f"hydra.searchpath=[{own}]"] if own else []
        try:
            with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
                config = compose(
                    self._config_name, overrides=[*overrides, *search], return_hydra_config=True
                )
        except (HydraException, OmegaConfBaseException, ValueError) as error:  # Hydra raises all
            raise OptionError(self._explain(error, overrides)) from error
        HydraConfig.instance().set_config(config)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return config

    def _choices(self, group: str) -> list[str]:
        return choices_of(group, self._config_dir)

    def _explain(self, error: Exception, overrides: list[str]) -> str:
        """Hydra's errors in one line."""
        message = str(error)
        if found := re.search(r"Could not override '([^']+)'", message):
            return self._explain_unknown_key(found[1], overrides)
        if "Config group override must be" in message:  # it does not say which
            for override in overrides:
                group, _, value = override.partition("=")
                choices = self._choices(group)
                if choices and value not in choices:
                    return f"{override}: {group} may be {', '.join(choices)}, or be left out"
        if found := re.search(r"Could not (?:find|load) '([^']+)/([^'/]*)'", message):
            group, choice = found.groups()
            if choices := self._choices(group):
                allowed = f"{group} may be {', '.join(choices)}"
                return f"{group}={choice}: no such choice{suggest(choice, choices)}; {allowed}"
        if isinstance(error, OmegaConfBaseException):
            return explain_omegaconf(error)
        return message

    def _explain_unknown_key(self, key: str, overrides: list[str]) -> str:
        override = next(
            (o for o in overrides if key in (o.split("=")[0], o.split("=")[0].split("@")[0])), None
        )
        if override is None:  # then it is a file in conf/ that is wrong
            return f"{key}: no such option in {self._config_name}.yaml"
        config = self.compose([o for o in overrides if o != override])
        chosen = {str(k): v for k, v in HydraConfig.get().runtime.choices.items()}
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        while node is None and parent:  # the mistake may lie further up
            parent, _, name = parent.rpartition(".")
            node = OmegaConf.select(config, parent) if parent else config
        if not isinstance(node, DictConfig):
            return f"{override}: {parent} has no options of its own"
        if name in node:
            return f"{override}: {f'{parent}.{name}'.strip('.')} is null here, it has no options"
        if not node:
            told = f"{override}: {parent}={chosen.get(parent, '{}')} has no options"
            others = [c for c in self._choices(parent) if c != chosen.get(parent)]
            return f"{told}; {parent} may also be {', '.join(others)}" if others else told
        if not parent and name in chosen:
            choices = "|".join(self._choices(name))
            return f"{override}: {name} is null here; choose {name}={choices} with it"
        deeper = list(_below(OmegaConf.to_container(node), parent))
        if now := [path for path in deeper if path.endswith(f".{name}")]:
            return f"{override}: no such option; it is {' or '.join(now)} now"
        allowed = [str(key) for key in node if not str(key).startswith("_")]
        if not suggest(name, allowed, cutoff=0.9) and name in _parameters_of(node):
            return f"{override}: not set so far; to set it, write +{override}"
        if not parent:
            allowed += [g for g in chosen if not re.search("[@/]", g) and g not in allowed]
        return f"{override}: {unknown(name, parent, allowed, deeper)}"


def _check_groups(overrides: list[str]) -> None:
    """A recipe would win over a size without a word."""
    chosen = dict(o.split("=", 1) for o in overrides if "=" in o)
    if "size" in chosen and chosen.get("experiment", "null") != "null":
        raise OptionError(
            f"size={chosen['size']}: experiment={chosen['experiment']} sets every size; leave one"
            " of them out, or override single options (model.num_filters=32)"
        )


def _below(node: object, path: str, depth: int = 0) -> Iterator[str]:
    """The keys of the nodes in a node, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            place = f"{path}.{key}" if path else str(key)
            if depth:
                yield place
            yield from _below(value, place, depth + 1)


def _parameters_of(node: DictConfig) -> Mapping[str, inspect.Parameter]:
    """What the ``_target_`` of a node takes, which may take seconds to import."""
    return inspect.signature(get_object(node._target_)).parameters if "_target_" in node else {}
