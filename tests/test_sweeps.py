"""Every sweep file is W&B's, has only options that exist, and runs without a server."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import forkserver
import pytest
import wandb
import yaml
from rich.console import Console
from tiny_runs import rows
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from wandb_server import WandbSweepServer

from pixelcnn_lit.commands.sweep import main
from pixelcnn_lit.configuration import SWEEPS_DIR, check, compose_config
from pixelcnn_lit.configuration.command_line import read_command_line
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.training.options import RunOptions
from pixelcnn_lit.trials.offline import load_engine
from pixelcnn_lit.trials.ranking import plot, ranked, ranking, varied
from pixelcnn_lit.trials.sweep_file import read_sweep
from pixelcnn_lit.trials.trial import Trial, run_trial

SWEEPS = sorted(path.stem for path in SWEEPS_DIR.glob("*.yaml"))


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_file_passes_the_schema_of_wandb(name: str) -> None:
    engine = load_engine()
    assert engine.schema_violations_from_proposed_config(read_sweep(name).config) == []


@pytest.mark.parametrize("name", SWEEPS)
def test_every_option_of_a_sweep_exists_and_takes_its_values(name: str) -> None:
    config = yaml.safe_load((SWEEPS_DIR / f"{name}.yaml").read_text())
    least, most = [], []
    for option, choice in config["parameters"].items():
        values = choice.get("values") or [
            choice.get("value", choice.get("min")),
            choice.get("max"),
        ]
        values = [value for value in values if value is not None]
        least.append(f"{option}={values[0]}")
        most.append(f"{option}={values[-1]}")
    for overrides in (least, most):
        check(compose_config("train", ["trainer=cpu", "run_dir=x", *overrides]), RunOptions)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_minimises_what_is_logged(name: str) -> None:
    assert read_sweep(name).metric == "val/bits_per_dim"
    assert read_sweep(name).config["metric"]["goal"] == "minimize"


def test_an_unknown_sweep_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pixelcnn-lit", "sweep", "pp_architectur"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert said.startswith("error: SWEEP=pp_architectur: no such sweep; there are ")
    assert all(name in said for name in SWEEPS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[", "cannot be read"),
        ("method: grid", "metric.name must be given"),
        ("metric: {name: x, goal: maximize}", "metric.goal=maximize: must be minimize"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(OptionError) as caught:
        read_sweep(str(path))
    assert str(caught.value).startswith(f"SWEEP={path}: {reason}")
    assert "\n" not in str(caught.value)


def test_without_the_engine_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"--offline: .*; pip install --no-deps sweeps==") as told:
        load_engine()
    pins = (SWEEPS_DIR / "requirements.txt").read_text().splitlines()
    assert str(told.value).split("--no-deps ")[1].split() == [p for p in pins if "==" in p]


def trial(number: int, best: float | None, **options: int) -> Trial:
    history = {} if best is None else {1: best + 1, 2: best}
    state = "invalid" if best is None else "finished"
    return Trial(number, options, Path(str(number)), state, history, "", 1.0)


def test_trials_are_ranked_by_their_best_value_and_failures_come_last() -> None:
    trials = [trial(0, 2.0, a=1, b=1), trial(1, None, a=9, b=1), trial(2, 1.5, a=2, b=1)]
    assert [t.number for t in ranked(trials)] == [2, 0, 1]
    assert varied(trials) == ["a"]
    assert len(plot([trials[0], trials[2]], "m").axes) == 2


def test_options_that_are_lists_and_messages_in_brackets_are_ranked() -> None:
    trials = [
        Trial(n, {"dims": [n, 3]}, Path("run"), "invalid", {}, "size=[/x] no [a]", 1.0)
        for n in (2, 3)
    ]
    assert varied(trials) == ["dims"]
    console = Console(width=200)
    with console.capture() as said:
        console.print(ranking(trials, "m"))
    assert "[2, 3]" in said.get()
    assert "size=[/x] no [a]" in said.get()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Has its usual meaning, which processes in the background do not know."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """As it was, whatever a sweep does with it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def sweep_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[int, signal.Signals]], None]:
    """Runs a sweep whose trials end at once; some are met by a signal instead."""

    def sweep(arguments: str, signals: dict[int, signal.Signals]) -> None:
        def run_trial(
            number: int, options: dict[str, int], arguments: list[str], run_dir: Path, **_: object
        ) -> Trial:
            if number in signals:
                os.kill(os.getpid(), signals[number])
                time.sleep(20)
            run_dir.parent.mkdir(exist_ok=True)
            return trial(number, 1.0 + number % 7, **options)

        monkeypatch.setattr("pixelcnn_lit.trials.offline.run_trial", run_trial)
        command = [
            "pixelcnn-lit",
            "sweep",
            *arguments.split(),
            "--offline",
            "--folder",
            str(tmp_path / "out"),
        ]
        monkeypatch.setattr(sys, "argv", command)
        main()

    return sweep


def test_a_grid_is_tried_whole_and_others_ten_times_unless_a_count_is_given(
    sweep_offline: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = read_sweep("pp_grid").config
    (tmp_path / "random.yaml").write_text(yaml.safe_dump({**config, "method": "random"}))
    for arguments, number, first in [
        ("pp_grid", 27, "runs the whole grid; --count N"),
        ("pp_grid --count 2", 2, "trial 0: "),
        (f"{tmp_path}/random.yaml", 10, "runs 10 trials; --count N"),
    ]:
        sweep_offline(arguments, {})
        said = capsys.readouterr()
        assert said.out.startswith(f"{number} trials by ")
        assert said.err.startswith(first)
        assert said.err.count("trial ") == number
        shutil.rmtree(tmp_path / "out")


def test_a_folder_that_holds_something_is_refused(
    sweep_offline: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/000").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        sweep_offline("pp_grid --count 1", {})
    assert ended.value.code == 2
    assert "holds something already; name another" in capsys.readouterr().err


def test_a_count_below_one_is_refused(
    sweep_offline: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        sweep_offline("pp_grid --count 0", {})
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: --count=0 (COUNT): must be 1 or more\n"


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("number", [0, 2])
def test_an_interrupted_sweep_ranks_the_trials_that_came_to_an_end(
    sweep_offline: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    signum: signal.Signals,
    number: int,
) -> None:
    with pytest.raises(SystemExit) as ended:
        sweep_offline("pp_grid --count 4", {number: signum})
    assert ended.value.code == 130
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == f"interrupted in trial {number}"
    assert said.out.startswith(f"{number} trials by ") == (number > 0)
    assert (tmp_path / "out/sweep.png").exists() == (number > 0)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("on_term", ["exit 1", "kill -INT $PPID"])  # the second one goes on
def test_no_trial_outlives_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_term: str
) -> None:
    program = tmp_path / "python"
    program.write_text(
        f"#!/bin/sh\ntrap '{on_term}' TERM\necho $$ > {tmp_path}/pid\n"
        "sleep 0.3\nkill -INT $PPID\nwhile :; do sleep 0.05; done\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(KeyboardInterrupt):
        run_trial(
            0, {}, [], tmp_path / "run", metric="m", should_stop=lambda history: False, group=""
        )
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


PLANTED = """
import lightning
class Planted(lightning.Callback):
    def __init__(self, width):
        self.width = width
    def on_fit_start(self, trainer, model):
        def forward(*args, **kwargs):
            raise ValueError("planted")
        if self.width == 6:
            model.network.forward = forward
"""
"""A bug in a network's forward, where a trial asks for it."""


@pytest.mark.slow
def test_an_offline_sweep_ranks_its_trials_and_tells_invalid_from_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = read_sweep("pp_grid").config
    config["parameters"] = {
        "model.network.num_filters": {
            "values": [4, 6, -1]
        },  # 6 is planted, no network is that narrow
        "model.network.num_hierarchies": {"value": 1},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    overrides = [
        "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "test=false",
        "trainer.limit_val_batches=1", "callbacks.samples=null", "logger=none",
        "+callbacks.planted._target_=planted.Planted",
        "+callbacks.planted.width=${model.network.num_filters}",
    ]  # fmt: skip
    words = [f"{tmp_path}/tiny.yaml", "--offline", "--count", "9", "--folder", f"{tmp_path}/out"]
    monkeypatch.setattr(sys, "argv", ["pixelcnn-lit", "sweep", *words, *overrides])
    main()
    said = capsys.readouterr()
    assert "3 trials by val/bits_per_dim" in said.out
    told = [line.split() for line in said.err.splitlines() if not line.startswith("trial")]
    assert [line[0] for line in told if line[0] in ("finished", "crashed", "invalid")] == [
        "finished", "crashed", "invalid",
    ]  # fmt: skip
    assert "ValueError: planted" in said.err
    assert "num_filters=-1" in said.err
    assert (tmp_path / "out/sweep.png").stat().st_size > 1000


SWITCHED = {"model/network": {"values": ["gated", "pixelcnn"]}, "model": {"value": "autoencoder"}}
"""Parameters of a sweep that swaps a whole node."""


def test_a_sweep_may_switch_a_group_through_the_agents_command_builder(tmp_path: Path) -> None:
    (tmp_path / "switched.yaml").write_text(
        yaml.safe_dump(read_sweep("pp_grid").config | {"parameters": SWITCHED})
    )
    parameters = read_sweep(f"{tmp_path}/switched.yaml").config["parameters"]
    for chosen in SWITCHED["model/network"]["values"]:
        config = {name: {"value": of.get("value", chosen)} for name, of in parameters.items()}
        words = create_sweep_command_args({"args": config})["args_no_hyphens"]
        overrides = read_command_line(words).overrides
        assert compose_config("train", overrides).model.network.name == chosen


@pytest.mark.slow
def test_an_offline_sweep_may_switch_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = read_sweep("pp_grid").config | {"parameters": SWITCHED}
    (tmp_path / "switched.yaml").write_text(yaml.safe_dump(config))
    overrides = [
        "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "test=false",
        "trainer.limit_val_batches=1", "callbacks.reconstructions=null", "logger=none",
        "model.network.num_layers=2", "callbacks.curve=null",
    ]  # fmt: skip
    words = [f"{tmp_path}/switched.yaml", "--offline", "--folder", f"{tmp_path}/out"]
    monkeypatch.setattr(sys, "argv", ["pixelcnn-lit", "sweep", *words, *overrides])
    main()
    said = capsys.readouterr()
    assert "2 trials by val/bits_per_dim" in said.out
    kept = [yaml.safe_load(f.read_text()) for f in sorted((tmp_path / "out").glob("*/config.yaml"))]
    assert [run["model"]["network"]["name"] for run in kept] == ["gated", "pixelcnn"]


@pytest.mark.slow
def test_a_sweep_on_the_server_runs_its_trials_and_marks_the_invalid_one(tmp_path: Path) -> None:
    """W&B's agent in a shell whose `python` is not this one."""
    trials = {"one": {"model.network.num_filters": 4}, "two": {"model.network.num_hierarchies": 9}}
    overrides = [
        "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "test=false",
        "trainer.limit_val_batches=1", "logger.wandb.upload_best=false",
    ]  # fmt: skip
    command = ["-m", "pixelcnn_lit", "sweep", "pp_grid", *overrides]
    with WandbSweepServer(trials) as server:
        environment = {**os.environ, **server.environment, "PATH": "/usr/bin:/bin"}
        ended = forkserver.run(*command, env=environment, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert set(server.runs) == {"one", "two"}
    assert "invalid" in server.tags  # the second one's
    [folder] = (tmp_path / "runs/pp-digits").glob("sweep-abc/*")
    assert folder.name == "one"
    [kept] = [row for row in rows(folder) if row["val/bits_per_dim"]]
    [sent] = [row for row in server.history if "val/bits_per_dim" in row]
    assert sent["val/bits_per_dim"] == pytest.approx(float(kept["val/bits_per_dim"]))


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_sweep_on_the_server_that_is_interrupted_leaves_no_trial_behind(
    tmp_path: Path, signum: signal.Signals
) -> None:
    overrides = ["trainer=cpu", "trainer.max_epochs=10000", "logger.wandb.upload_best=false"]
    command = ["-m", "pixelcnn_lit", "sweep", "pp_grid", *overrides]
    with WandbSweepServer({"one": {"model.network.num_filters": 4}}) as server:
        environment = {**os.environ, **server.environment}
        sweep = forkserver.start(*command, env=environment, cwd=tmp_path)
        last = tmp_path / "runs/pp-digits/sweep-abc/one/checkpoints/last.ckpt"
        while not last.exists() and sweep.poll() is None:
            time.sleep(0.1)
        sweep.send_signal(signum)
        _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == 130, said
    assert "pixelcnn_lit/" not in said  # no traceback of ours; W&B's threads may leave one
    arrived = signal.SIGTERM if signum == signal.SIGHUP else signum
    assert f"stopped by {arrived.name}" in said
    written = rows(tmp_path / "runs/pp-digits/sweep-abc/one")
    time.sleep(2)
    assert rows(tmp_path / "runs/pp-digits/sweep-abc/one") == written


def test_a_sweep_that_the_server_does_not_take_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.teardown()
    monkeypatch.setattr(sys, "argv", ["pixelcnn-lit", "sweep", "pp_grid"])
    with WandbSweepServer({}) as server:
        server.fail("unauthorized")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    wandb.teardown()
    assert ended.value.code == 2
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert said.startswith("error: W&B: the sweep cannot be created")
    assert said.endswith("(OFFLINE=1) works without it")
