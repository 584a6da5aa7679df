"""The words of a command line: flags, and options as Hydra's grammar reads them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.errors import HydraException

from pixelcnn_lit.configuration.compose import as_group
from pixelcnn_lit.messages import OptionError


@dataclass(frozen=True)
class CommandLine:
    """What stands behind the name of a command.

    Args:
        overrides: `key=value`, as Hydra reads it.
        help: what the command does is asked for.
        config_dir: folder of configuration files of the user's own.
        multirun: a run for each of several values.
        cfg: "job" to print all options, and run nothing.
        resolve: print their values as they are used.
    """

    overrides: list[str]
    help: bool
    config_dir: str | None
    multirun: bool
    cfg: str | None
    resolve: bool

    @property
    def jobs(self) -> list[list[str]]:
        """Overrides without lists of values: the first of each list, and each other one once."""
        options = [_values(override) for override in self.overrides]
        first = [values[0] for values in options if values]
        others = [
            [*first[:place], value, *first[place + 1 :]]
            for place, values in enumerate(filter(None, options))
            for value in values[1:]
        ]
        return [first, *others]


def read_command_line(words: Sequence[str]) -> CommandLine:
    """Reads flags and options, and quotes values that Hydra's grammar could not read.

    Raises:
        OptionError: naming the word that is neither, or can be understood in two ways.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    one_or_many = parser.add_mutually_exclusive_group()
    one_or_many.add_argument("--multirun", "-m", action="store_true")
    one_or_many.add_argument("--cfg", "-c", choices=["job"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("overrides", nargs="*")
    read = parser.parse_intermixed_args(words)
    read.overrides = [
        as_group(_readable(override, read.overrides[place - 1] if place else None, read.multirun))
        for place, override in enumerate(read.overrides)
    ]
    return CommandLine(**vars(read))


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        """Raises OptionError."""
        raise OptionError(f"{message}; --help shows what there is")


def _readable(override: str, before: str | None, multirun: bool) -> str:
    """An option as Hydra's grammar reads it: quoted where it is one text beyond doubt."""
    key, equals, value = override.partition("=")
    if not equals and not key.startswith("~"):
        told = f"{override}: not key=value"
        if before is not None and "=" in before:
            told += f"; a value with a blank is quoted: {_quoted(f'{before} {override}')}"
        raise OptionError(told)
    try:
        parsed = _parse(override)
    except HydraException as error:
        if not re.fullmatch(r"(\+{0,2}|~)[\w@-]+([./][\w@-]+)*", key):
            raise OptionError(f"{override}: {key or 'nothing'} is no name of an option") from error
        if value[:1] in ("[", "{", "(", "'", '"') or "${" in value or (multirun and "," in value):
            raise OptionError(
                f"{override}: cannot be read; if it is one text, quote it: {_quoted(override)}"
            ) from error
        return _quoted(override, shell=False)
    if parsed.is_sweep_override() and not multirun:
        raise OptionError(
            f"{override}: several values are for several runs (--multirun); a list is"
            f" {key}=[{value}], one text {_quoted(override)}"
        )
    return override


def _quoted(override: str, *, shell: bool = True) -> str:
    """An option whose value is one text, whatever stands in it; as a shell takes it."""
    key, _, value = override.partition("=")
    quoted = f"{key}={QuotedString(value, Quote.double).with_quotes()}"
    return f"'{quoted}'" if shell else quoted


def _values(override: str) -> list[str]:
    """One option for each value of a list of them; none of what only a sweeper can tell."""
    parsed = _parse(override)
    if not parsed.is_sweep_override():
        return [override]
    if not parsed.is_discrete_sweep() or isinstance(parsed.value(), Glob):
        return []
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def _parse(override: str) -> Override:
    return OverridesParser.create().parse_override(override)
