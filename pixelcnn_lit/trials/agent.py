"""A sweep on W&B's server: created there, worked on by W&B's agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import wandb

from pixelcnn_lit.configuration import INTERRUPTED
from pixelcnn_lit.loggers.wandb_mode import logged_in
from pixelcnn_lit.messages import OptionError, one_line
from pixelcnn_lit.trials.sweep_file import Sweep

_PROJECT = "pixelcnn-lit"


def run_online(sweep: Sweep, count: int | None, overrides: list[str]) -> int:
    """Creates the sweep on W&B's server and works on it until it is done.

    Ctrl-C, SIGTERM and SIGHUP are the agent's: it hands them on to the trial, which saves its
    state.

    Args:
        sweep: what to try.
        count: trials at most that this agent runs; None has no end.
        overrides: options of every run.

    Returns:
        The exit status: 130 for a sweep that was interrupted, else the agent's.

    Raises:
        OptionError: if nobody is logged in, or the server does not take the sweep.
    """
    command = sweep.config.get("command")
    if not isinstance(command, list):
        raise OptionError(f"{sweep.path}: command must be given, as in our own sweeps")
    if not logged_in():
        raise OptionError(
            "W&B: not logged in; `wandb login`, or --offline (OFFLINE=1) for a sweep without it"
        )
    config = {**sweep.config, "command": [*command, *overrides]}
    try:
        sweep_id = wandb.sweep(config, project=_PROJECT)
    except wandb.Error as error:
        raise OptionError(
            f"W&B: the sweep cannot be created ({one_line(error)});"
            " --offline (OFFLINE=1) works without it"
        ) from error
    limit = ["--count", str(count)] if count else []
    wandb_agent = [sys.executable, "-m", "wandb", "agent", "--forward-signals", *limit]
    # the agent runs what is called python
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    agent = subprocess.Popen(
        [*wandb_agent, "--project", _PROJECT, sweep_id],
        env=os.environ | {"PATH": path},
        process_group=0,  # Ctrl-C reaches it once: from here
    )
    passed: list[int] = []

    def pass_on(signum: int, frame: FrameType | None) -> None:
        passed.append(signum)
        # trials know nothing of terminals that close
        agent.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)

    signal.signal(signal.SIGINT, pass_on)
    signal.signal(signal.SIGTERM, pass_on)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup's
        signal.signal(signal.SIGHUP, pass_on)
    status = agent.wait()
    return INTERRUPTED if passed else status
