"""One run of a sweep, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pixelcnn_lit.loggers.metrics_file import read_metric

State = Literal["finished", "stopped", "invalid", "crashed"]
Value = int | float | str | bool


@dataclass(frozen=True)
class Trial:
    """What became of one choice of options.

    Args:
        number: counted from 0.
        options: name and value of what the sweep chose.
        run_dir: where the run is.
        state: "stopped" by early termination; "invalid" if the options do not go together, which
            is told before training begins; "crashed" for all else that is not "finished".
        history: the metric by step.
        message: what the run said last, if it is invalid or crashed.
        seconds: how long it took.
    """

    number: int
    options: dict[str, Value]
    run_dir: Path
    state: State
    history: dict[int, float]
    message: str
    seconds: float

    @property
    def best(self) -> float | None:
        """The smallest value of the metric, if there is any."""
        return min(self.history.values(), default=None)


def run_trial(
    number: int,
    options: dict[str, Value],
    arguments: list[str],
    run_dir: Path,
    *,
    metric: str,
    should_stop: Callable[[dict[int, float]], bool],
    group: str,
) -> Trial:
    """Trains with ``arguments`` and waits, asking ``should_stop`` after every new value.

    Args:
        number: of the trial.
        options: what the sweep chose; part of ``arguments``.
        arguments: of `python -m pixelcnn_lit train`.
        run_dir: of the run.
        metric: read from the run's metrics.csv.
        should_stop: gets the metric by step so far.
        group: of W&B runs.
    """
    log = run_dir.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    train = [sys.executable, "-m", "pixelcnn_lit", "train", *arguments, f"run_dir={run_dir}"]
    env = {"WANDB_MODE": "offline", **os.environ, "WANDB_RUN_GROUP": group}
    history: dict[int, float] = {}
    stopped = False
    start = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(train, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                now = read_metric(run_dir / "metrics.csv", metric)
                if now != history and not stopped:
                    history, stopped = now, should_stop(now)
                    if stopped:
                        process.terminate()
        except BaseException:  # Ctrl-C: no trial outlives its sweep
            try:
                process.terminate()
                process.wait()
            finally:  # a second one
                process.kill()
                process.wait()
            raise
    seconds = time.monotonic() - start
    history = read_metric(run_dir / "metrics.csv", metric)
    ended: dict[int, State] = {0: "finished", 2: "invalid"}
    state = "stopped" if stopped else ended.get(process.returncode, "crashed")
    lines = log.read_text().split("\n") if state in ("invalid", "crashed") else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    message = last.removeprefix("error: ")
    return Trial(number, options, run_dir, state, history, message, seconds)
