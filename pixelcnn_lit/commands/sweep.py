"""Run many trainings that differ in a few options, and rank them.

Examples:
    pixelcnn-lit sweep pp_architecture --count 20 trainer.max_epochs=10
    pixelcnn-lit sweep my/sweep.yaml --offline data=mnist
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from pixelcnn_lit.configuration import SWEEPS_DIR, Parser, end_with_error
from pixelcnn_lit.messages import OptionError, say
from pixelcnn_lit.trials.sweep_file import read_sweep

_COUNT = 10  # trials of an offline sweep without end


def main() -> None:
    """The command line."""
    try:
        status = _run(_parser().parse_intermixed_args(sys.argv[2:]))
    except OptionError as error:
        end_with_error(error)
    if status:
        sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="pixelcnn-lit sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ", ".join(sorted(path.stem for path in SWEEPS_DIR.glob("*.yaml")))
    parser.add_argument("sweep", help=f"{known}, or a file of your own as W&B has it: FILE.yaml")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="one trial after the other, on W&B's own engine, without its server",
    )
    parser.add_argument(
        "--count",
        type=int,
        help=f"how many runs at most; without it a whole grid, else {_COUNT} offline and no end "
        "with W&B's server",
    )
    parser.add_argument("--folder", type=Path, help="where offline runs go")
    parser.add_argument("--config-dir", type=Path, help="as `train` has it, for every run")
    parser.add_argument("overrides", nargs="*", help="options of every run: trainer.max_epochs=5")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    """Runs the sweep; returns the exit status."""
    sweep = read_sweep(arguments.sweep)
    if arguments.count is not None and arguments.count < 1:
        raise OptionError(f"--count={arguments.count} (COUNT): must be 1 or more")
    overrides = arguments.overrides
    if arguments.config_dir:
        overrides = ["--config-dir", str(arguments.config_dir.resolve()), *overrides]
    if not arguments.offline:
        from pixelcnn_lit.trials.agent import run_online

        return run_online(sweep, arguments.count, overrides)
    from pixelcnn_lit.trials.offline import report, run_offline

    when = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    folder = arguments.folder or Path("runs") / f"sweep-{sweep.path.stem}" / when
    if folder.exists() and any(folder.iterdir()):
        raise OptionError(f"--folder={folder}: holds something already; name another")
    count = arguments.count
    if count is None and sweep.config.get("method") == "grid":
        say("runs the whole grid; --count N (COUNT=N) for fewer")
    elif count is None:
        count = _COUNT
        say(f"runs {_COUNT} trials; --count N (COUNT=N) for another number")
    trials, complete = run_offline(sweep, count, folder, overrides)
    return report(trials, sweep, folder, complete=complete)
