"""What `--help` prints: what a command does, examples, options with a line each, groups."""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
import typing
from collections.abc import Iterator

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit.configuration.command_line import CommandLine
from pixelcnn_lit.configuration.compose import CONF_DIR, choices_of
from pixelcnn_lit.configuration.wording import describe, shown

_FLAGS = {
    "--cfg job": "print all options, and run nothing; with --resolve their values as they are used",
    "--config-dir DIR": "look for files of groups in DIR, too: DIR/data/mine.yaml for data=mine",
    "--multirun, -m": "several runs one after the other, of every combination: seed=0,1,2",
    "--help, -h": "this page",
}


def help_page(
    config_name: str, config: DictConfig, line: CommandLine, options_type: type, manual: str | None
) -> str:
    """The page about a command, whose configuration has just been composed.

    Args:
        config_name: file in conf/, without its ending.
        config: what ``line`` makes of that file.
        line: groups that it chooses are shown with their options.
        options_type: dataclass whose docstring has a line about every option.
        manual: what the command does, and examples.
    """
    command = f"pixelcnn-lit {config_name}"  # a door and its file in conf/ have one name
    pages = [(manual or "").strip(), f"usage: {command} key=value …"]
    pages.append(_listed("options", _options(config_name, options_type)))
    for group in [word.partition("=")[0] for word in line.overrides]:
        if isinstance(config.get(group), DictConfig) and "_target_" in config[group]:
            pages.append(_listed(f"options of {group}", _options_of_group(config, group)))
    groups = dict(_groups(line.config_dir))
    pages.append(_listed(f"groups ({command} GROUP=CHOICE --help says more about one)", groups))
    pages.append(_listed("flags", _FLAGS))
    return "\n\n".join(pages)


def _options(config_name: str, options_type: type) -> dict[str, str]:
    """Every option with its default, and what it means."""
    defaults = OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{config_name}.yaml"))
    assert isinstance(defaults, dict)
    meanings = option_lines(options_type)
    options = {}
    for name, hint in typing.get_type_hints(options_type).items():
        choices = f" ({describe(hint)})" if "Literal" in str(hint) else ""
        options[_written(name, defaults.get(name))] = meanings.get(name, "") + choices
    return options


def _options_of_group(config: DictConfig, group: str) -> dict[str, str]:
    """The same of what is built from a group."""
    meanings = option_lines(get_object(config[group]["_target_"]))
    values = OmegaConf.to_container(config[group])
    assert isinstance(values, dict)
    names = [str(name) for name in values if not str(name).startswith("_")]
    return {_written(f"{group}.{name}", values[name]): meanings.get(name, "") for name in names}


def _written(name: str, value: object) -> str:
    """An option with its value, where that can be told in a word."""
    text = shown(value)
    return f"{name}=…" if text == "???" or "${" in text or len(text) > 20 else f"{name}={text}"


def option_lines(options_type: type) -> dict[str, str]:
    r"""What the docstring of a dataclass says about each of its arguments.

    >>> from dataclasses import make_dataclass
    >>> doc = "Options.\n\nArgs:\n    seed: of the\n        draws.\n    size: of it."
    >>> option_lines(make_dataclass("Options", [], namespace={"__doc__": doc}))
    {'seed': 'of the draws.', 'size': 'of it.'}
    """
    _, _, arguments = (inspect.getdoc(options_type) or "").partition("\nArgs:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", arguments, flags=re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


def _groups(config_dir: str | None) -> Iterator[tuple[str, str]]:
    """Every group that can be chosen, what is chosen, and what could be."""
    choices = dict(HydraConfig.get().runtime.choices)
    tops = [group.partition("/")[0] for group in reversed(choices)]  # the last is read first
    for group in sorted(choices, key=lambda group: (tops.index(group.partition("/")[0]), group)):
        if "@" not in group and not group.startswith("hydra/"):
            chosen = f"{group}={choices[group] or 'null'}"
            yield chosen, " | ".join(choices_of(group, config_dir))


def _listed(title: str, entries: dict[str, str]) -> str:
    """Names on the left, what they mean on the right; a long name has a line of its own."""
    width = max(shutil.get_terminal_size((100, 24)).columns, 72)
    formatter = argparse.HelpFormatter("", max_help_position=32, width=width)
    formatter.start_section(title)
    for name, text in entries.items():
        formatter.add_argument(argparse.Action([], name, help=text.replace("%", "%%")))
    formatter.end_section()
    return formatter.format_help().strip()
