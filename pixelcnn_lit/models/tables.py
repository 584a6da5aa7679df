"""Tables of what a model is built from: plain nested options to networks, likelihoods, inputs.

The same dict of plain values is the YAML below ``conf/model``, the hyperparameters of a checkpoint
and the configuration on a hub. ``name`` in it chooses from a closed table, so reading one never
runs foreign code.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches

from pixelcnn_lit.likelihoods import (
    AbstractLikelihood,
    Bernoulli,
    ChannelLogisticMixture,
    LogisticMixture,
    Softmax,
)
from pixelcnn_lit.networks import (
    AbstractInput,
    AbstractNetwork,
    GatedPixelCNN,
    OrderedLevels,
    PixelCNN,
    PixelCNNPP,
)

Value = int | float | str | bool | list | None
Options = Mapping[str, Value]
"""``name`` and the options of what has that name; those left out have their defaults."""

NETWORKS: dict[str, type[AbstractNetwork]] = {
    "pixelcnn": PixelCNN,
    "gated": GatedPixelCNN,
    "pp": PixelCNNPP,
}
LIKELIHOODS: dict[str, Callable[..., AbstractLikelihood]] = {
    "bernoulli": Bernoulli,
    "softmax": Softmax,
    "logistic_mixture": LogisticMixture,
    "channel_logistic_mixture": ChannelLogisticMixture,
}
INPUTS: dict[str, Callable[..., AbstractInput]] = {"levels": OrderedLevels}
TABLES: dict[str, Mapping[str, Callable[..., object]]] = {
    "network": NETWORKS,
    "likelihood": LIKELIHOODS,
    "input": INPUTS,
}
"""By the name of the argument of a model."""


def make_input(given: Options, num_colors: int, num_levels: int) -> AbstractInput:
    """The input that ``given`` names.

    Raises:
        ValueError: naming the option that is unknown or out of range, as the functions below.
    """
    chosen = _chosen("input", given)
    with within("input"):
        return INPUTS[chosen["name"]](num_colors, num_levels, **_without_name(chosen))


def make_likelihood(given: Options, channels: int, num_levels: int) -> AbstractLikelihood:
    """The likelihood that ``given`` names, of ``channels`` colours with ``num_levels`` levels."""
    chosen = _chosen("likelihood", given)
    with within("likelihood"):
        return LIKELIHOODS[chosen["name"]](channels, num_levels, **_without_name(chosen))


def make_network(
    given: Options,
    input: AbstractInput,
    likelihood: AbstractLikelihood,
    cond_channels: int,
    image_size: tuple[int, int],
) -> AbstractNetwork:
    """The network that ``given`` names, between an input and a likelihood."""
    chosen = _chosen("network", given)
    network_class = NETWORKS[chosen["name"]]
    make = typing.cast("Callable[..., AbstractNetwork]", network_class)
    with within("network"):
        network = make(
            network_class.options_type(**_without_name(chosen)),
            input.in_channels,
            likelihood.num_params,
            num_colors=input.num_colors,
            orders_channels=not likelihood.couples_channels,
            cond_channels=cond_channels,
        )
        network.check_image_size(image_size)
    return network


def all_options(section: str, given: Options) -> dict[str, Value]:
    """``given`` and the defaults of what it leaves out, as plain values."""
    made = TABLES[section][str(given["name"])]
    chosen = _without_name(given)
    if options_type := getattr(made, "options_type", None):
        values = asdict(options_type(**chosen))
    else:
        defaults = inspect.signature(made).parameters
        values = {name: chosen.get(name, defaults[name].default) for name in option_types(made)}
    lists = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    return {"name": given["name"], **lists}


def option_types(made: Callable[..., object]) -> dict[str, object]:
    """The options of a class in a table, and their types.

    A network has a class of options; of others they are what the constructor takes beside what the
    data decide.
    """
    if options_type := getattr(made, "options_type", None):
        return typing.get_type_hints(options_type)
    decided = {"channels", "num_colors", "num_levels", "return"}
    hints = typing.get_type_hints(made.__init__)  # type: ignore[misc]
    return {name: hint for name, hint in hints.items() if name not in decided}


def _chosen(section: str, given: Options) -> dict[str, typing.Any]:
    """``given``, its names checked."""
    table, name = TABLES[section], given.get("name")
    if name not in table:
        raise ValueError(f"{section}.name={name}: allowed are {', '.join(table)}")
    allowed = option_types(table[str(name)])
    for option in given.keys() - {"name", *allowed}:
        close = get_close_matches(option, allowed, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        takes = ", ".join(allowed) or "no options"
        raise ValueError(
            f"{section}.{option}={given[option]}: no such option{meant} {name} takes {takes}"
        )
    return dict(given)


def _without_name(given: Options) -> dict[str, typing.Any]:
    return {option: value for option, value in given.items() if option != "name"}


@contextmanager
def within(section: str) -> Iterator[None]:
    """What a part finds wrong with its options is told with the name of its section."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from error
