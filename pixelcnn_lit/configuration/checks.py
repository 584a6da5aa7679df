"""The configuration against the types of whatever is built from it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast, get_args, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from pixelcnn_lit.configuration.wording import describe, explain_omegaconf, shown, unknown
from pixelcnn_lit.messages import OptionError


def check(config: DictConfig, options_type: type) -> None:
    """Compares the top with ``options_type``, every ``_target_`` with what it is built from.

    Raises:
        OptionError: one line that names the option, its value and what is allowed.
    """
    allowed = get_type_hints(options_type)
    written = OmegaConf.to_yaml(config, resolve=False)
    chosen = HydraConfig.get().runtime.choices
    unresolved = cast("dict[str, object]", OmegaConf.to_container(config, resolve=False))
    for name, value in unresolved.items():
        is_read = name in allowed or chosen.get(name) is not None
        if not is_read and not re.search(rf"\$\{{[^}}]*\b{re.escape(name)}\b", written):
            raise OptionError(f"{name}={shown(value)}: {unknown(name, '', list(allowed))}")
    try:
        values = cast(
            "dict[str, object]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        )
    except OmegaConfBaseException as error:  # or an interpolation that leads nowhere
        raise OptionError(explain_omegaconf(error)) from error
    for name, hint in allowed.items():
        _check_value(name, values.get(name), hint)
    for path, node in _targets(values, ""):
        _check_node(path, node)


def _targets(node: object, path: str) -> Iterator[tuple[str, dict[str, object]]]:
    if isinstance(node, dict) and "_target_" in node:
        yield path, node
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _targets(child, f"{path}.{key}" if path else str(key))


def _check_node(path: str, node: dict[str, object]) -> None:
    try:
        target = get_object(str(node["_target_"]))
    except (ImportError, ValueError) as error:
        raise OptionError(
            f"{path}._target_={node['_target_']}: cannot be imported ({error})"
        ) from error
    parameters = inspect.signature(target).parameters
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, AttributeError):  # names known to a type checker only
        hints = {}
    special = ("_target_", "_partial_", "_args_")
    given = {key: value for key, value in node.items() if key not in special}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    names = [*parameters, *given] if takes_any else parameters
    _check_values(path, given, {name: hints.get(name, Any) for name in names})
    for section, table in getattr(target, "tables", {}).items():
        _check_options(f"{path}.{section}", node.get(section), table)
    if node.get("_partial_") or "_args_" in node:
        return
    for name, parameter in parameters.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and name not in given:
            raise OptionError(f"{path}.{name}: must be given")


def _check_options(path: str, options: object, table: Mapping[str, type]) -> None:
    """A node that names an entry of a table and its options, see models/tables.py."""
    from pixelcnn_lit.models.tables import option_parameters

    if not isinstance(options, dict) or options.get("name") not in table:
        group = path.replace(".", "/")
        raise OptionError(f"{path}={shown(options)}: choose {group}={'|'.join(table)}")
    allowed = option_parameters(table[options.pop("name")])
    _check_values(path, options, {name: option.annotation for name, option in allowed.items()})


def _check_values(path: str, values: dict[str, object], hints: Mapping[str, object]) -> None:
    for name, value in values.items():
        if name not in hints:
            raise OptionError(f"{path}.{name}={shown(value)}: {unknown(name, path, list(hints))}")
        _check_value(f"{path}.{name}", value, hints[name])


def _check_value(path: str, value: object, hint: object) -> None:
    written = json.dumps(value)
    if '"_target_"' in written:  # checked by what it is built from
        return
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))  # pyright: ignore[reportArgumentType]
    except PydanticUserError:  # a type with a configuration of its own, or none it can check
        return
    try:
        # strict JSON: true is no integer, "3" no number, but [3, 3] may be a tuple
        adapter.validate_json(written, strict=True)
    except ValidationError as error:
        told = f"{path}={shown(value)}: must be {describe(hint)}"
        if str in (hint, *get_args(hint)) and isinstance(value, int | float):
            told += f"; as a text: '{path}=\"{shown(value)}\"'"
        raise OptionError(told) from error
