"""The configuration against the types of whatever is built from it."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from pixelcnn_lit.configuration.wording import describe, explain_omegaconf, shown, unknown
from pixelcnn_lit.messages import OptionError


def check(config: DictConfig, options_type: type) -> None:
    """Compares the top with ``options_type``, every ``_target_`` with what it is built from.

    Raises:
        OptionError: one line that names the option, its value and what is allowed.
    """
    try:
        _check(config, options_type)
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise OptionError(explain_omegaconf(error)) from error


def _check(config: DictConfig, options_type: type) -> None:
    allowed = typing.get_type_hints(options_type)
    for name, hint in allowed.items():
        if OmegaConf.is_missing(config, name):
            raise OptionError(f"{name}: must be given")
        _check_value(name, plain(config, name), hint)
    written = OmegaConf.to_yaml(config, resolve=False)
    chosen = HydraConfig.get().runtime.choices
    for name, value in _unresolved(config).items():
        is_read = name in allowed or chosen.get(name) is not None
        if not is_read and not re.search(rf"\$\{{[^}}]*\b{re.escape(name)}\b", written):
            raise OptionError(f"{name}={shown(value)}: {unknown(name, '', list(allowed))}")
    OmegaConf.to_container(config, resolve=True)  # before anything is imported
    for path, node in _targets(config, ""):
        _check_node(path, node)


def _targets(node: DictConfig | ListConfig, path: str) -> Iterator[tuple[str, DictConfig]]:
    if isinstance(node, DictConfig) and "_target_" in node:
        yield path, node
    keys = list(node) if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        if OmegaConf.is_missing(node, key):
            continue
        child = node[key]
        if isinstance(child, DictConfig | ListConfig):
            yield from _targets(child, f"{path}.{key}" if path else str(key))


def _check_node(path: str, node: DictConfig) -> None:
    try:
        target = get_object(node["_target_"])
    except (ImportError, ValueError) as error:
        raise OptionError(
            f"{path}._target_={node['_target_']}: cannot be imported ({error})"
        ) from error
    parameters = inspect.signature(target).parameters
    hints = _type_hints(target)
    given = [str(key) for key in node if str(key) not in ("_target_", "_partial_", "_args_")]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if OmegaConf.is_missing(node, key):
            raise OptionError(f"{path}.{key}: must be given")
        value = plain(node, key)
        if key not in parameters and not takes_any:
            raise OptionError(
                f"{path}.{key}={shown(value)}: {unknown(key, path, list(parameters))}"
            )
        if key in hints:
            _check_value(f"{path}.{key}", value, hints[key])
    for section, table in getattr(target, "tables", {}).items():
        _check_options(f"{path}.{section}", plain(node, section), table)
    if node.get("_partial_") or "_args_" in node:
        return
    for name, parameter in parameters.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and name not in given:
            raise OptionError(f"{path}.{name}: must be given")


def _check_options(path: str, options: object, table: typing.Mapping[str, type]) -> None:
    """A node that names an entry of a table and its options, see models/tables.py."""
    from pixelcnn_lit.models.tables import option_types

    if not isinstance(options, dict) or options.get("name") not in table:
        group = path.replace(".", "/")
        raise OptionError(f"{path}={shown(options)}: choose {group}={'|'.join(table)}")
    allowed = option_types(table[options.pop("name")])
    for name, value in options.items():
        if name not in allowed:
            raise OptionError(f"{path}.{name}={shown(value)}: {unknown(name, path, [*allowed])}")
        _check_value(f"{path}.{name}", value, allowed[name])


def _unresolved(config: DictConfig) -> dict[str, object]:
    return typing.cast(dict[str, object], OmegaConf.to_container(config, resolve=False))


def plain(node: DictConfig, key: str) -> object:
    """The value of a key, without OmegaConf's containers."""
    value = node[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _type_hints(target: Callable[..., object]) -> dict[str, object]:
    """The types of the arguments, as far as they can be found out."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # names known to a type checker only
        return {}


def _check_value(path: str, value: object, hint: object) -> None:
    if _contains_target(value):
        return
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))  # pyright: ignore[reportArgumentType]
    except PydanticUserError:  # a type with a configuration of its own, or none it can check
        return
    try:
        # strict JSON: true is no integer, "3" no number, but [3, 3] may be a tuple
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        told = f"{path}={shown(value)}: must be {describe(hint)}"
        if str in (hint, *typing.get_args(hint)) and isinstance(value, int | float):
            told += f"; as a text: '{path}=\"{shown(value)}\"'"
        raise OptionError(told) from error


def _contains_target(value: object) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(_contains_target(v) for v in value.values())
    return isinstance(value, list) and any(_contains_target(v) for v in value)
