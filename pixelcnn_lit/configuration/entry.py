"""The body of every command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import hydra
from omegaconf import DictConfig

from pixelcnn_lit.configuration.checks import check
from pixelcnn_lit.configuration.compose import CONF_DIR, compose_config
from pixelcnn_lit.configuration.resolvers import register_resolvers

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


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
    command_line = sys.argv
    sys.argv = [command_line[0], *command_line[2:]]  # Hydra knows nothing of our commands
    multirun = {"-m", "--multirun"} & set(sys.argv)
    try:
        if not any(argument.startswith("-") for argument in sys.argv[1:]):
            check(compose_config(config_name, sys.argv[1:]), options_type)
    except ValueError as error:
        end_with_error(error)

    failed: list[int] = []

    def checked_task(config: DictConfig) -> object:
        sys.argv = command_line  # which Lightning repeats for the other processes
        try:
            if multirun:
                check(config, options_type)
            return task(config)
        except ValueError as error:
            print_error(error)
            status = 2
        except SystemExit as ended:
            if isinstance(ended.__context__, KeyboardInterrupt):  # Lightning's end of Ctrl-C
                raise KeyboardInterrupt from ended
            if ended.code != 1:
                raise
            status = 1
        if not multirun:
            sys.exit(status)
        failed.append(status)  # the other jobs may do better
        return None

    main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)
    try:
        main(checked_task)()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if failed:
        print(f"error: {len(failed)} of the jobs failed", file=sys.stderr)
        sys.exit(max(failed))


def end_with_error(error: Exception) -> NoReturn:
    """One line on stderr and exit status 2; the whole story with HYDRA_FULL_ERROR=1."""
    print_error(error)
    sys.exit(2)


def print_error(error: Exception) -> None:
    """One line on stderr; with HYDRA_FULL_ERROR=1 the error goes on its way."""
    if os.environ.get("HYDRA_FULL_ERROR"):
        raise error
    rank = os.environ.get("LOCAL_RANK", "0")
    prefix = "error" if rank == "0" else f"error (process {rank})"
    print(f"{prefix}: {' '.join(str(error).split())}", file=sys.stderr)
