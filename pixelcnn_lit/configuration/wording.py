"""How a mistake is put into one line: what is allowed, and what was probably meant."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import types
from collections.abc import Iterable, Sequence
from typing import Literal, Union, get_args, get_origin

from omegaconf.errors import OmegaConfBaseException


def unknown(name: str, parent: str, allowed: list[str], deeper: Iterable[str] = ()) -> str:
    """What ``parent`` takes instead of ``name``.

    Args:
        name: the key that is none.
        parent: the node it was looked for in, empty at the top.
        allowed: the keys of ``parent``.
        deeper: keys in its nodes, as paths from the top.
    """
    places = {path.rpartition(".")[2]: path for path in deeper} | {key: key for key in allowed}
    meant = places.get(closest(name, places))
    where = f"{parent or 'the configuration'} takes {', '.join(allowed) or 'none'}"
    return f"no such option{f'; did you mean {meant}?' if meant else ''}; {where}"


def closest(name: str, allowed: Iterable[str], cutoff: float = 0.6) -> str:
    """The allowed name that looks most like ``name``, empty if none does."""
    return next(iter(difflib.get_close_matches(name, list(allowed), n=1, cutoff=cutoff)), "")


def explain_omegaconf(error: OmegaConfBaseException) -> str:
    """What is wrong with a value, with the name of its option."""
    message = str(error.msg or error).partition("\n")[0]
    if missing := re.search(r"Missing mandatory value: (.+)", message):
        name = missing[1] if "interpolation" in message else error.full_key
        return f"{name}: must be given"
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
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    if hint in words or hint is type(None):
        return words.get(hint, "null")
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(map(shown, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return "a list of " + re.sub(r"^an? (\w+)", r"\1s", describe(arguments[0]))
    return f"a {hint.__name__}" if inspect.isclass(hint) else str(hint)
