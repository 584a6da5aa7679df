"""Many runs that differ in a few options, ranked: `pixelcnn-lit sweep pp_architecture`.

The files in sweeps/ are W&B's. With its server `wandb`'s own agent runs them; with --offline they
run here one after the other, on W&B's own engine, which chooses trials and ends bad ones early.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType, ModuleType
from typing import Protocol

import wandb
import yaml
from rich.console import Console
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from pixelcnn_lit.configuration import INTERRUPTED, end_with_error
from pixelcnn_lit.loggers.wandb_mode import logged_in
from pixelcnn_lit.messages import OptionError, one_line, say
from pixelcnn_lit.trials.ranking import ranking, save_plot
from pixelcnn_lit.trials.trial import Trial, Value, run_trial

SWEEPS_DIR = Path(__file__).resolve().parents[2] / "sweeps"
_PROJECT = "pixelcnn-lit"
_COUNT = 10  # trials of an offline sweep without end


@dataclass(frozen=True)
class Sweep:
    """A file in sweeps/.

    Args:
        name: of the file, without its ending.
        config: its content, as W&B takes it.
        metric: what is minimised.
    """

    name: str
    config: dict[str, object]
    metric: str


class Suggestion(Protocol):
    """A trial as W&B's engine sees it: what it chose, and what came of it."""

    name: str
    state: str
    config: dict[str, dict[str, Value]]
    history: list[dict[str, float]]
    summary_metrics: dict[str, float]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="pixelcnn-lit sweep", description=__doc__)
    parser.add_argument("sweep", help="a file in sweeps/, without its ending")
    parser.add_argument("--offline", action="store_true", help="without W&B's server")
    parser.add_argument(
        "--count",
        type=int,
        help=f"how many runs at most; without it a whole grid, else {_COUNT} offline and no end "
        "with W&B's server",
    )
    parser.add_argument("--folder", type=Path, help="where offline runs go")
    parser.add_argument("overrides", nargs="*", help="options of every run: trainer.max_epochs=5")
    arguments = parser.parse_intermixed_args(sys.argv[2:])
    try:
        sweep = read_sweep(arguments.sweep)
        if arguments.count is not None and arguments.count < 1:
            raise OptionError(f"--count={arguments.count} (COUNT): must be 1 or more")
        if arguments.offline:
            when = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
            folder = arguments.folder or Path("runs") / f"sweep-{sweep.name}" / when
            if folder.exists() and any(folder.iterdir()):
                raise OptionError(f"--folder={folder}: holds something already; name another")
            count = arguments.count or _usual_count(sweep)
            with _sigterm_like_ctrl_c():
                trials, complete = run_offline(sweep, count, folder, arguments.overrides)
            if status := report(trials, sweep, folder, complete=complete):
                sys.exit(status)
        else:
            run_online(sweep, arguments.count, arguments.overrides)
    except ValueError as error:
        end_with_error(error)


def read_sweep(name: str) -> Sweep:
    """Reads sweeps/``name``.yaml.

    Raises:
        OptionError: if there is none.
    """
    path = SWEEPS_DIR / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in SWEEPS_DIR.glob("*.yaml")))
        raise OptionError(f"SWEEP={name}: no such sweep; there are {known}")
    config = yaml.safe_load(path.read_text())
    return Sweep(name, config, config["metric"]["name"])


def run_online(sweep: Sweep, count: int | None, overrides: list[str]) -> None:
    """Creates the sweep on W&B's server and works on it until it is done.

    Ctrl-C, SIGTERM and SIGHUP are the agent's: it hands them on to the trial, which saves its
    state.

    Raises:
        OptionError: if nobody is logged in, or the server does not take the sweep.
    """
    if not logged_in():
        raise OptionError("W&B: not logged in; `wandb login`, or OFFLINE=1 for a sweep without it")
    command = [*sweep.config["command"], *overrides]  # type: ignore[misc]
    try:
        sweep_id = wandb.sweep({**sweep.config, "command": command}, project=_PROJECT)
    except wandb.Error as error:
        raise OptionError(
            f"W&B: the sweep cannot be created ({one_line(error)}); OFFLINE=1 works without it"
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
    with _passing_signals_on(agent) as passed:
        status = agent.wait()
    sys.exit(INTERRUPTED if passed else status)


def run_offline(
    sweep: Sweep, count: int | None, folder: Path, overrides: list[str]
) -> tuple[list[Trial], bool]:
    """Runs up to ``count`` trials one after the other.

    Args:
        sweep: what to try.
        count: trials at most; None tries everything, which ends for grids only.
        folder: every run gets a folder in it.
        overrides: options of every run.

    Returns:
        The trials that came to an end, and whether these are all: Ctrl-C ends the running one.

    Raises:
        OptionError: if W&B's engine is not installed, or does not accept the file.
    """
    engine = load_engine()
    if violations := engine.schema_violations_from_proposed_config(sweep.config):
        raise OptionError(f"sweeps/{sweep.name}.yaml: {'; '.join(violations)}")
    trials: list[Trial] = []
    suggestions: list[Suggestion] = []
    try:
        while count is None or len(trials) < count:
            suggestion = engine.next_run(sweep.config, suggestions)
            if suggestion is None:  # the grid is complete
                break
            suggestions.append(suggestion)
            trials.append(_run(engine, sweep, suggestions, folder, overrides))
    except KeyboardInterrupt:
        return trials, False
    return trials, True


def _run(
    engine: ModuleType,
    sweep: Sweep,
    suggestions: list[Suggestion],
    folder: Path,
    overrides: list[str],
) -> Trial:
    """Runs the last of the suggestions and tells it what came of it."""
    suggestion, number = suggestions[-1], len(suggestions) - 1
    suggestion.name = str(number)
    suggestion.state = engine.RunState.running
    options: dict[str, Value] = {name: v["value"] for name, v in suggestion.config.items()}
    arguments = create_sweep_command_args({"args": suggestion.config})["args_no_hyphens"]

    def should_stop(history: dict[int, float]) -> bool:
        suggestion.history = [{sweep.metric: value} for value in history.values()]
        if "early_terminate" not in sweep.config:
            return False
        return any(run is suggestion for run in engine.stop_runs(sweep.config, suggestions))

    say(f"trial {number}: {' '.join(arguments)}")
    trial = run_trial(
        number,
        options,
        [*arguments, *overrides],
        folder / f"{number:03d}",
        metric=sweep.metric,
        should_stop=should_stop,
        group=f"{sweep.name} {folder.name}",
    )
    suggestion.history = [{sweep.metric: value} for value in trial.history.values()]
    if trial.best is not None:
        suggestion.summary_metrics = {sweep.metric: trial.best}
    done = trial.state in ("finished", "stopped")
    suggestion.state = engine.RunState.finished if done else engine.RunState.failed
    value = "" if trial.best is None else f" {sweep.metric} {trial.best:.4f}"
    say(f"  {trial.state}{value} {trial.message}")
    return trial


def load_engine() -> ModuleType:
    """W&B's own sweep engine.

    Raises:
        OptionError: if it is not installed.
    """
    found = importlib.util.find_spec("sweeps")
    if found is None or found.origin is None:  # without a file it is only a folder of that name
        raise OptionError(
            "W&B's sweep engine is not installed; `make sweep OFFLINE=1` does it, or"
            " pip install --no-deps -r sweeps/requirements.txt"
        )
    with warnings.catch_warnings():  # it names its settings as pydantic 1 did
        warnings.simplefilter("ignore")
        return importlib.import_module("sweeps")


def report(trials: list[Trial], sweep: Sweep, folder: Path, *, complete: bool) -> int:
    """Prints the ranking and saves the picture.

    Returns:
        The exit status: 130 for a sweep that was interrupted, 1 if nothing was measured, else 0.
    """
    measured = any(trial.best is not None for trial in trials)
    console = Console()
    if not console.is_terminal:
        console = Console(width=180)
    if trials:
        console.print(ranking(trials, sweep.metric))
    if measured:
        save_plot(trials, sweep.metric, folder / "sweep.png")
        console.print(f"picture: {folder / 'sweep.png'}")
    if not complete:
        say(f"interrupted in trial {len(trials)}")
        return INTERRUPTED
    return 0 if measured else 1


def _usual_count(sweep: Sweep) -> int | None:
    """How many trials if nobody says it: all of a grid, of which there is an end."""
    if sweep.config["method"] == "grid":
        say("runs the whole grid; --count N (COUNT=N) for fewer")
        return None
    say(f"runs {_COUNT} trials; --count N (COUNT=N) for another number")
    return _COUNT


@contextmanager
def _passing_signals_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Inside, signals that ask to end are the process's; gives those that came."""
    passed: list[int] = []

    def pass_on(signum: int, frame: FrameType | None) -> None:
        passed.append(signum)
        # trials know nothing of terminals that close
        process.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)

    signums = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup's
        signums.append(signal.SIGHUP)
    before = {signum: signal.signal(signum, pass_on) for signum in signums}
    try:
        yield passed
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """Inside, both end the running trial before the sweep."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
