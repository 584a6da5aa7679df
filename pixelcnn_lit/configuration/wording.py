"""How a mistake is put into one line: what is allowed, and what was probably meant."""

from __future__ import annotations

import difflib
import inspect
import json
import types
from collections.abc import Iterator, Sequence
from typing import Literal, Union, get_args, get_origin


def unknown(name: str, parent: str, allowed: list[str]) -> str:
    """What ``parent`` takes instead of ``name``."""
    where = f"{parent or 'the configuration'} takes {', '.join(allowed)}"
    return f"no such option{suggest(name, allowed)}; {where}"


def suggest(name: str, allowed: list[str]) -> str:
    """The allowed name that looks most like ``name``, if one does."""
    close = difflib.get_close_matches(name, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else ""


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
