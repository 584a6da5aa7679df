"""Options and objects from a checked configuration."""

from __future__ import annotations

import re
import typing
from typing import TypeVar, cast

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit.messages import OptionError

Options = TypeVar("Options")


def read_options(options_type: type[Options], config: DictConfig) -> Options:
    """The options at the top of the configuration, as a dataclass."""
    values = cast("dict[str, object]", OmegaConf.to_container(config, resolve=True))
    return options_type(**{name: values[name] for name in typing.get_type_hints(options_type)})


def build(config: DictConfig, path: str) -> object:
    """Builds the node ``path`` of the configuration.

    Raises:
        OptionError: what the constructor found wrong, in one line that begins with ``path``.
        Exception: whatever else it raised, without Hydra's words around it.
    """
    try:
        return hydra.utils.instantiate(OmegaConf.select(config, path), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | OSError):
            message = str(cause)
            # "network.num_filters=0: …" is an option below the node, "no such file" is none
            joint = "." if re.match(r"[\w.]+=", message) else ": "
            told = message if message.startswith(path) else f"{path}{joint}{message}"
            raise OptionError(told) from error
        raise cause or error from None
