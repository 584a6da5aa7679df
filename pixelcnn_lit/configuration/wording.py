"""How a mistake is put into one line: what is allowed, and what was probably meant."""

from __future__ import annotations

import difflib
import inspect
import json
import types
from collections.abc import Iterator, Sequence
from typing import Literal, Union, get_args, get_origin

from omegaconf.errors import OmegaConfBaseException


def unknown(name: str, parent: str, allowed: list[str], deeper: Sequence[str] = ()) -> str:
    """What ``parent`` takes instead of ``name``.

    Args:
        name: the key that is none.
        parent: the node it was looked for in, empty at the top.
        allowed: the keys of ``parent``.
        deeper: keys in its nodes, as paths from the top.
    """
    where = f"{parent or 'the configuration'} takes {', '.join(allowed) or 'none'}"
    last = {path.rpartition(".")[2]: path for path in deeper}
    meant = _closest(name, allowed) or last.get(_closest(name, list(last)))
    return f"no such option{f'; did you mean {meant}?' if meant else ''}; {where}"


def suggest(name: str, allowed: list[str], cutoff: float = 0.6) -> str:
    """The allowed name that looks most like ``name``, if one does."""
    close = _closest(name, allowed, cutoff)
    return f"; did you mean {close}?" if close else ""


def _closest(name: str, allowed: list[str], cutoff: float = 0.6) -> str:
    return next(iter(difflib.get_close_matches(name, allowed, n=1, cutoff=cutoff)), "")


def explain_omegaconf(error: OmegaConfBaseException) -> str:
    """What is wrong with a value, with the name of its option."""
    message = str(error.msg or error).partition("\n")[0]
    return f"{error.full_key}: {message}" if error.full_key else message


def shown(value: object) -> str:
    """A value as the command line would write it."""
    return value if isinstance(value, str) else json.dumps(value)


def describe(hint: object) -> str:
    """A type as the command line would write its values.

    >>> describe(int | None)
    'an integer or null'
    >>> describe(list[float])
    'a list of numbers'
    """
    names = {
        int: "an integer",
        float: "a number",
        bool: "true or false",
        str: "a text",
        type(None): "null",
    }
    plurals = {int: "integers", float: "numbers", bool: "true or false", str: "texts"}
    if hint in names:
        return names[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal or origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_alternatives(hint)))
    if arguments and inspect.isclass(origin) and issubclass(origin, list | tuple | Sequence):
        return f"a list of {plurals.get(arguments[0], describe(arguments[0]))}"
    if inspect.isclass(hint):
        return f"a {hint.__name__}"
    return str(hint)


def _alternatives(hint: object) -> Iterator[str]:
    """The values of a Literal, and what the members of a union are called."""
    for argument in get_args(hint):
        if get_origin(hint) is Literal:
            yield shown(argument)
        elif get_origin(argument) is Literal:
            yield from _alternatives(argument)
        else:
            yield describe(argument)
