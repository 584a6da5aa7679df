"""From the command line to a checked configuration: every mistake is one line, before any work."""

from __future__ import annotations

import difflib
import inspect
import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar, Union, get_args, get_origin

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

CONF_DIR = Path(__file__).resolve().parents[1] / "conf"
RUN_DIR_VARIABLE = "PIXELCNN_LIT_RUN_DIR"
Options = TypeVar("Options")


def run(task: Callable[[DictConfig], object], config_name: str, options_type: type) -> None:
    """Runs ``task`` on what the command line asks for; the body of every entry point.

    A mistake of the user ends the process with status 2 and one line on stderr. HYDRA_FULL_ERROR=1
    shows where it was found.

    Args:
        task: gets the composed and checked configuration.
        config_name: file in conf/, without its ending.
        options_type: dataclass of the options at the top of that file.
    """
    register_resolvers()
    multirun = {"-m", "--multirun"} & set(sys.argv)
    try:
        if not any(argument.startswith("-") for argument in sys.argv[1:]):
            check(compose_config(config_name, sys.argv[1:]), options_type)
    except ValueError as error:
        end_with_error(error)

    def checked_task(config: DictConfig) -> object:
        try:
            if multirun:
                check(config, options_type)
            return task(config)
        except ValueError as error:
            end_with_error(error)

    main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)
    main(checked_task)()


def end_with_error(error: Exception) -> typing.NoReturn:
    """One line on stderr and exit status 2; the whole story with HYDRA_FULL_ERROR=1."""
    if os.environ.get("HYDRA_FULL_ERROR"):
        raise error
    rank = os.environ.get("LOCAL_RANK", "0")
    prefix = "error" if rank == "0" else f"error (process {rank})"
    print(f"{prefix}: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)


def register_resolvers() -> None:
    """What conf/ may use besides OmegaConf's own: see the functions below."""
    for name, resolver in {
        "default_run_dir": default_run_dir,
        "default_accelerator": default_accelerator,
        "default_precision": default_precision,
        "run_name": run_name,
        "choose": choose,
    }.items():
        OmegaConf.register_new_resolver(
            name, resolver, replace=True, use_cache=name == "default_run_dir"
        )


def default_run_dir(model: str, data: str) -> str:
    """runs/MODEL-DATA/WHEN; processes of one run agree on it, a requeued job finds it again."""
    environment = os.environ
    if (
        environment.get("LOCAL_RANK", "0") != "0" and RUN_DIR_VARIABLE in environment
    ):  # started by Lightning
        return environment[RUN_DIR_VARIABLE]
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return HydraConfig.get().runtime.output_dir
    folder = f"runs/{model}-{data}"
    if (sweep := environment.get("WANDB_SWEEP_ID")) and (run := environment.get("WANDB_RUN_ID")):
        return f"{folder}/sweep-{sweep}/{run}"
    if job := environment.get("SLURM_JOB_ID"):
        task = environment.get("SLURM_ARRAY_TASK_ID")
        job = environment.get("SLURM_ARRAY_JOB_ID", job)
        return f"{folder}/slurm-{job}_{task}" if task else f"{folder}/slurm-{job}"
    if elastic := environment.get(
        "TORCHELASTIC_RUN_ID"
    ):  # torchrun: every process has its own clock
        return f"{folder}/torchrun-{elastic if elastic != 'none' else os.getppid()}"
    return f"{folder}/{datetime.now():%Y-%m-%d_%H-%M-%S}"


def default_accelerator() -> str:
    """A GPU if there is one."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def default_precision() -> str:
    """bf16-mixed on GPUs that have it, 16-mixed on older ones, float32 on the CPU."""
    import torch

    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def run_name(run_dir: str) -> str:
    """pp-digits/2026-11-22_12-00-00: the last two folders of a run's path."""
    return "/".join(Path(run_dir).parts[-2:])


def choose(key: str, values: DictConfig) -> object:
    """The value of ``key``, null if there is none: `${choose:${model.decoder},{gated:5}}`."""
    return values.get(key)


def compose_config(config_name: str, overrides: list[str]) -> DictConfig:
    """Composes conf/``config_name``.yaml with ``overrides`` as the command line would.

    Raises:
        ValueError: one line that names the option, its value and what is allowed.
    """
    register_resolvers()
    try:
        return _compose(config_name, overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ValueError(_explain(error, config_name, overrides)) from error


def _compose(config_name: str, overrides: list[str]) -> DictConfig:
    if GlobalHydra.instance().is_initialized():
        GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose(config_name, overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config


def _explain(error: Exception, config_name: str, overrides: list[str]) -> str:
    """Hydra's errors in one line."""
    message = str(error)
    if found := re.search(r"Could not override '([^']+)'", message):
        return _explain_unknown_key(found[1], config_name, overrides)
    if found := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", message):
        group, choice = found.groups()
        choices = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
        allowed = f"{group} may be {', '.join(choices)}"
        return f"{group}={choice}: no such choice{_suggest(choice, choices)}; {allowed}"
    return message


def _explain_unknown_key(key: str, config_name: str, overrides: list[str]) -> str:
    override = next((o for o in overrides if o.split("=")[0].split("@")[0] == key), key)
    others = [o for o in overrides if o != override]
    parent, _, name = key.rpartition(".")
    config = compose_config(config_name, others)
    node = OmegaConf.select(config, parent) if parent else config
    while node is None and parent:  # the mistake may lie further up
        parent, _, name = parent.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig):
        return f"{override}: {parent} has no options of its own"
    if name in node:
        return f"{override}: {f'{parent}.{name}'.strip('.')} is null here, it has no options"
    return f"{override}: {_unknown(name, parent, [str(k) for k in node if k != '_target_'])}"


def _unknown(name: str, parent: str, allowed: list[str]) -> str:
    where = f"{parent or 'the configuration'} takes {', '.join(allowed)}"
    return f"no such option{_suggest(name, allowed)}; {where}"


def _suggest(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def check(config: DictConfig, options_type: type) -> None:
    """Compares the top with ``options_type``, every ``_target_`` with what it is built from.

    Raises:
        ValueError: one line that names the option, its value and what is allowed.
    """
    for name, hint in typing.get_type_hints(options_type).items():
        if OmegaConf.is_missing(config, name):
            raise ValueError(f"{name}: must be given")
        _check_value(name, _plain(config, name), hint)
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
        raise ValueError(
            f"{path}._target_={node['_target_']}: cannot be imported ({error})"
        ) from error
    parameters = inspect.signature(target).parameters
    hints = _type_hints(target)
    given = [str(key) for key in node if str(key) not in ("_target_", "_partial_", "_args_")]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if OmegaConf.is_missing(node, key):
            raise ValueError(f"{path}.{key}: must be given")
        value = _plain(node, key)
        if key not in parameters and not takes_any:
            raise ValueError(
                f"{path}.{key}={_shown(value)}: {_unknown(key, path, list(parameters))}"
            )
        if key in hints:
            _check_value(f"{path}.{key}", value, hints[key])
    if node.get("_partial_") or "_args_" in node:
        return
    for name, parameter in parameters.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and name not in given:
            raise ValueError(f"{path}.{name}: must be given")


def _plain(node: DictConfig, key: str) -> object:
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
    except (
        PydanticUserError
    ):  # a type with a configuration of its own, or one that pydantic cannot check
        return
    try:
        # strict JSON: true is no integer, "3" no number, but [3, 3] may be a tuple
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise ValueError(f"{path}={_shown(value)}: must be {describe(hint)}") from error


def _contains_target(value: object) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(_contains_target(v) for v in value.values())
    return isinstance(value, list) and any(_contains_target(v) for v in value)


def _shown(value: object) -> str:
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
    if origin is Literal:
        return " or ".join(_shown(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(argument) for argument in arguments))
    if (
        arguments
        and inspect.isclass(origin)
        and issubclass(origin, list | tuple | typing.Sequence)
    ):
        return f"a list of {plurals.get(arguments[0], describe(arguments[0]))}"
    if inspect.isclass(hint):
        return f"a {hint.__name__}"
    return str(hint)


def read_options(options_type: type[Options], config: DictConfig) -> Options:
    """The options at the top of the configuration, as a dataclass."""
    names = typing.get_type_hints(options_type)
    return options_type(**{name: _plain(config, name) for name in names})


def build(config: DictConfig, path: str) -> object:
    """Builds the node ``path`` of the configuration.

    Raises:
        ValueError: what the constructor found wrong, in one line that begins with ``path``.
    """
    try:
        return hydra.utils.instantiate(OmegaConf.select(config, path), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | OSError):
            message = str(cause)
            raise ValueError(
                message if message.startswith(path) else f"{path}: {message}"
            ) from error
        raise
