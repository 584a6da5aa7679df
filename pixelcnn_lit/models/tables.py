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
    name, options = _chosen("input", given)
    with within("input"):
        return INPUTS[name](num_colors, num_levels, **options)


def make_likelihood(given: Options, channels: int, num_levels: int) -> AbstractLikelihood:
    """The likelihood that ``given`` names, of ``channels`` colours with ``num_levels`` levels."""
    name, options = _chosen("likelihood", given)
    with within("likelihood"):
        return LIKELIHOODS[name](channels, num_levels, **options)


def make_network(
    given: Options,
    input: AbstractInput,
    likelihood: AbstractLikelihood,
    cond_channels: int,
    image_size: tuple[int, int],
) -> AbstractNetwork:
    """The network that ``given`` names, between an input and a likelihood."""
    name, options = _chosen("network", given)
    make = NETWORKS[name]
    with within("network"):
        network = make(
            make.options_type(**options),
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
    parameters = inspect.signature(_taker(made)).parameters
    values = {name: given.get(name, parameters[name].default) for name in option_types(made)}
    lists = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    return {"name": given["name"], **lists}


def option_types(made: Callable[..., object]) -> dict[str, object]:
    """The options of a class in a table, and their types: what the data do not decide."""
    decided = {"channels", "num_colors", "num_levels", "return"}
    hints = typing.get_type_hints(_taker(made).__init__)  # type: ignore[misc]
    return {name: hint for name, hint in hints.items() if name not in decided}


def _taker(made: Callable[..., object]) -> Callable[..., object]:
    """What takes the options: the class of the options of a network, or the class itself."""
    return getattr(made, "options_type", made)


def _chosen(section: str, given: Options) -> tuple[str, dict[str, typing.Any]]:
    """The name in ``given`` and its options, of which there are such."""
    table, name = TABLES[section], given.get("name")
    if name not in table:
        raise ValueError(f"{section}.name={name}: allowed are {', '.join(table)}")
    options = {option: value for option, value in given.items() if option != "name"}
    allowed = option_types(table[str(name)])
    for option in options.keys() - allowed:
        close = get_close_matches(option, allowed, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        takes = ", ".join(allowed) or "no options"
        raise ValueError(
            f"{section}.{option}={given[option]}: no such option{meant} {name} takes {takes}"
        )
    return str(name), options


@contextmanager
def within(section: str) -> Iterator[None]:
    """What a part finds wrong with its options is told with the name of its section."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from error
