"""A sweep without a server: W&B's own engine chooses trials and ends bad ones early."""

from __future__ import annotations

import importlib
import importlib.util
import signal
import warnings
from pathlib import Path
from types import ModuleType
from typing import Protocol

from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from pixelcnn_lit.configuration import INTERRUPTED, SWEEPS_DIR
from pixelcnn_lit.messages import OptionError, print_table, say
from pixelcnn_lit.trials.ranking import plot, ranking
from pixelcnn_lit.trials.sweep_file import Sweep
from pixelcnn_lit.trials.trial import Trial, Value, run_trial


class Suggestion(Protocol):
    """A trial as W&B's engine sees it: what it chose, and what came of it."""

    name: str
    state: str
    config: dict[str, dict[str, Value]]
    history: list[dict[str, float]]
    summary_metrics: dict[str, float]


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
        The trials that came to an end, and whether these are all: Ctrl-C and SIGTERM end the
        running one.

    Raises:
        OptionError: if W&B's engine is not installed, or does not accept the file.
    """
    engine = load_engine()
    if violations := engine.schema_violations_from_proposed_config(sweep.config):
        raise OptionError(f"{sweep.path}: {'; '.join(violations)}")
    trials: list[Trial] = []
    suggestions: list[Suggestion] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends the running trial first
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
        group=f"{sweep.path.stem} {folder.name}",
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
        lines = (SWEEPS_DIR / "requirements.txt").read_text().splitlines()
        needed = " ".join(line for line in lines if line and not line.startswith("#"))
        raise OptionError(f"--offline: needs W&B's sweep engine; pip install --no-deps {needed}")
    with warnings.catch_warnings():  # it names its settings as pydantic 1 did
        warnings.simplefilter("ignore")
        return importlib.import_module("sweeps")


def report(trials: list[Trial], sweep: Sweep, folder: Path, *, complete: bool) -> int:
    """Prints the ranking and saves the picture.

    Returns:
        The exit status: 130 for a sweep that was interrupted, 1 if nothing was measured, else 0.
    """
    measured = any(trial.best is not None for trial in trials)
    if trials:
        print_table(ranking(trials, sweep.metric))
    if measured:
        plot(trials, sweep.metric).savefig(folder / "sweep.png", dpi=150)
        print(f"picture: {folder / 'sweep.png'}")
    if not complete:
        say(f"interrupted in trial {len(trials)}")
        return INTERRUPTED
    return 0 if measured else 1
