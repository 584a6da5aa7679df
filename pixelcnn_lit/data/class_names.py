"""Class names: classes by name or number, as people write them in options."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from pixelcnn_lit.messages import OptionError

_MOST_LISTED = 20


def class_number(
    option: str, name: str | int, names: Sequence[str] | None, num_classes: int | None, owner: str
) -> int:
    """The label of a class.

    An exact name comes before one that differs in capitals. Where all classes are called by
    numbers, a number is the name: of the digits [7, 3, 1] the class 1 is the last.

    Args:
        option: where it was written, for messages.
        name: name or number.
        names: what the labels 0, 1, … stand for; None if they have no names.
        num_classes: how many there are; None if that is not known.
        owner: what has the classes, for messages: "this model".

    Raises:
        OptionError: naming the option, for a class that is not there, with the nearest names.
    """
    if isinstance(name, int):
        if names and all(known.isdecimal() for known in names):
            values = [int(known) for known in names]
            if name in values:
                return values.index(name)
            raise OptionError(f"{option}: {name} is no class of {owner}; it has {_listed(names)}")
        if num_classes is not None and not 0 <= name < num_classes:
            raise OptionError(
                f"{option}: {name} is no class number; allowed are 0 … {num_classes - 1}"
            )
        return name
    if not names:
        raise OptionError(
            f"{option}: {name!r} is a name, but {owner} has numbers only"
            + ("" if num_classes is None else f", 0 … {num_classes - 1}")
        )
    if name in names:
        return names.index(name)
    lowered = [known.lower() for known in names]
    if lowered.count(name.lower()) == 1:
        return lowered.index(name.lower())
    near = get_close_matches(name.lower(), sorted(set(lowered)), n=3, cutoff=0.5)
    meant = [known for match in near for known in names if known.lower() == match]
    allowed = f"did you mean {' or '.join(meant)}?" if meant else f"it has {_listed(names)}"
    raise OptionError(f"{option}: {name!r} is no class of {owner}; {allowed}")


def _listed(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
