"""Options and objects from a checked configuration."""

from __future__ import annotations

import typing
from typing import TypeVar

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from pixelcnn_lit.configuration.checks import plain
from pixelcnn_lit.messages import OptionError

Options = TypeVar("Options")


def read_options(options_type: type[Options], config: DictConfig) -> Options:
    """The options at the top of the configuration, as a dataclass."""
    names = typing.get_type_hints(options_type)
    return options_type(**{name: plain(config, name) for name in names})


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
            raise OptionError(
                message if message.startswith(path) else f"{path}: {message}"
            ) from error
        raise cause or error from None
