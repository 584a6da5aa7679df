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

Made = typing.TypeVar("Made", bound=Callable[..., object])
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
    with _chosen("input", INPUTS, given) as (make, options):
        return make(num_colors, num_levels, **options)


def make_likelihood(given: Options, channels: int, num_levels: int) -> AbstractLikelihood:
    """The likelihood that ``given`` names, of ``channels`` colours with ``num_levels`` levels."""
    with _chosen("likelihood", LIKELIHOODS, given) as (make, options):
        return make(channels, num_levels, **options)


def make_network(
    given: Options,
    input: AbstractInput,
    likelihood: AbstractLikelihood,
    cond_channels: int,
    image_size: tuple[int, int],
) -> AbstractNetwork:
    """The network that ``given`` names, between an input and a likelihood."""
    with _chosen("network", NETWORKS, given) as (make, options):
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
    parameters = option_parameters(TABLES[section][str(given["name"])])
    values = {name: given.get(name, option.default) for name, option in parameters.items()}
    lists = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    return {"name": given["name"], **lists}


def option_parameters(made: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """The options of a class in a table, with types and defaults: what the data do not decide."""
    taker = getattr(made, "options_type", made)  # networks have a class of options
    parameters = inspect.signature(taker, eval_str=True).parameters
    decided = {"channels", "num_colors", "num_levels"}
    return {name: option for name, option in parameters.items() if name not in decided}


@contextmanager
def _chosen(
    section: str, table: Mapping[str, Made], given: Options
) -> Iterator[tuple[Made, dict[str, typing.Any]]]:
    """What ``given`` names and its options; what they get wrong is told with their section."""
    name = given.get("name")
    if name not in table:
        raise ValueError(f"{section}.name={name}: allowed are {', '.join(table)}")
    options = {option: value for option, value in given.items() if option != "name"}
    allowed = option_parameters(table[str(name)])
    for option in options.keys() - allowed:
        close = get_close_matches(option, allowed, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        takes = ", ".join(allowed) or "no options"
        raise ValueError(
            f"{section}.{option}={given[option]}: no such option{meant} {name} takes {takes}"
        )
    try:
        yield table[str(name)], options
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from error
