"""What every command does: read its options, check them, work; or say what the command does."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pixelcnn_lit.configuration.checks import check
from pixelcnn_lit.configuration.command_line import CommandLine, read_command_line
from pixelcnn_lit.configuration.compose import CONF_DIR, compose_config
from pixelcnn_lit.configuration.help_page import help_page
from pixelcnn_lit.configuration.wording import explain_omegaconf
from pixelcnn_lit.messages import OptionError, one_line

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


@dataclass(frozen=True)
class Command:
    """What a door of pixelcnn_lit/commands/ offers.

    Args:
        task: gets the composed and checked configuration.
        options_type: dataclass of the options at the top of its file in conf/, whose docstring says
            what they mean.
        manual: what the command does, in one line, and examples.
    """

    task: Callable[[DictConfig], object]
    options_type: type
    manual: str | None


def run(config_name: str, load: Callable[[], Command]) -> None:
    """Runs a command on what the command line asks for.

    A mistake of the user ends the process with status 2 and one line on stderr; HYDRA_FULL_ERROR=1
    shows where it was found. Every other exception goes on its way.

    Args:
        config_name: file in conf/, without its ending.
        load: imports the command, which takes seconds: after what can be refused without it.
    """
    try:
        line = read_command_line(sys.argv[2:])
        configs = [compose_config(config_name, job, line.config_dir) for job in line.jobs]
        command = load()
        if line.help:
            print(help_page(config_name, configs[0], line, command.options_type, command.manual))
        elif line.cfg:
            try:
                print(OmegaConf.to_yaml(configs[0], resolve=line.resolve), end="")
            except OmegaConfBaseException as error:
                raise OptionError(explain_omegaconf(error)) from error
        elif line.multirun:
            _run_jobs(config_name, command, line)
        else:
            check(configs[0], command.options_type)
            command.task(configs[0])
    except OptionError as error:
        end_with_error(error)
    except (SystemExit, KeyboardInterrupt) as ended:
        if isinstance(ended, SystemExit) and not _is_ctrl_c(ended):
            raise
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _run_jobs(config_name: str, command: Command, line: CommandLine) -> None:
    """Lets Hydra run one job after the other: a failure ends only one.

    Raises:
        SystemExit: the worst status of the jobs.
    """
    failed: list[int] = []

    def job(config: DictConfig) -> object:
        sys.argv = words  # which a run keeps
        try:
            check(config, command.options_type)
            return command.task(config)
        except OptionError as error:
            _print_error(error)
            failed.append(2)
        except SystemExit as ended:
            if _is_ctrl_c(ended):
                raise KeyboardInterrupt from ended
            if ended.code != 1:
                raise
            failed.append(1)
        except Exception:  # its traceback, and not that of Hydra's ways to here
            traceback.print_exc()
            failed.append(1)
        return None

    words = sys.argv
    config_dir = ["--config-dir", line.config_dir] if line.config_dir else []
    sys.argv = [words[0], "--multirun", *config_dir, *line.overrides]
    hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(job)()
    if failed:
        print(f"error: {len(failed)} of the jobs failed", file=sys.stderr)
        sys.exit(max(failed))


def _is_ctrl_c(ended: SystemExit) -> bool:
    return isinstance(ended.__context__, KeyboardInterrupt)  # Lightning's end of it


def end_with_error(error: OptionError) -> NoReturn:
    """One line on stderr and exit status 2; the whole story with HYDRA_FULL_ERROR=1."""
    _print_error(error)
    sys.exit(2)


def _print_error(error: OptionError) -> None:
    if os.environ.get("HYDRA_FULL_ERROR"):
        raise error
    rank = os.environ.get("LOCAL_RANK", "0")
    prefix = "error" if rank == "0" else f"error (process {rank})"
    print(f"{prefix}: {one_line(error)}", file=sys.stderr)
