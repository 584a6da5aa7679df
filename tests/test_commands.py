"""What people type: commands, their help, how values are written, and whose fault an error is."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forkserver
import pytest
from omegaconf import DictConfig
from tiny_runs import TINY

from pixelcnn_lit import configuration
from pixelcnn_lit.__main__ import descriptions, main
from pixelcnn_lit.commands.evaluate import EvaluateOptions
from pixelcnn_lit.commands.receptive_field import ReceptiveFieldOptions
from pixelcnn_lit.commands.reconstruct import ReconstructOptions
from pixelcnn_lit.configuration import CONF_DIR
from pixelcnn_lit.drawing.options import SampleOptions
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.training.options import RunOptions

Run = Callable[..., list[DictConfig]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a task on what `pixelcnn-lit train` makes of some words; gives its configurations."""

    def run(*words: str, task: Callable[[DictConfig], object] = lambda config: None):
        seen: list[DictConfig] = []

        def noted(config: DictConfig) -> object:
            seen.append(config)
            return task(config)

        monkeypatch.setattr(sys, "argv", ["pixelcnn-lit", "train", *words])
        configuration.run("train", lambda: configuration.Command(noted, RunOptions, None))
        return seen

    return run


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the program prints."""

    def said(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["pixelcnn-lit", *words])
        main()
        return capsys.readouterr().out

    return said


@pytest.fixture
def refusal(run: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The line with which some words are refused."""

    def refusal(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            run(*words)
        assert ended.value.code == 2
        [line] = capsys.readouterr().err.splitlines()
        return line.removeprefix("error: ")

    return refusal


def test_without_a_command_every_one_is_listed_with_its_line(said: Callable[..., str]) -> None:
    listed = said()
    files = {path.stem for path in (Path(configuration.__file__).parents[1] / "commands").glob("*")}
    assert set(descriptions()) == files - {"__init__", "__pycache__"}
    for name, line in descriptions().items():
        assert f"  {name}" in listed
        assert line in listed


def test_an_unknown_command_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pixelcnn-lit", "trian"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: trian: no such command")


@pytest.mark.parametrize(
    ("command", "options_type"),
    [
        ("train", RunOptions),
        ("receptive_field", ReceptiveFieldOptions),
        ("sample", SampleOptions),
        ("evaluate", EvaluateOptions),
        ("reconstruct", ReconstructOptions),
    ],
)
def test_help_has_the_line_of_the_list_two_examples_and_a_line_for_every_option(
    command: str, options_type: type, said: Callable[..., str]
) -> None:
    page = said(command, "--help").splitlines()
    assert page[0] == descriptions()[command]
    assert sum(line.startswith(f"    pixelcnn-lit {command} ") for line in page) == 2
    for field in dataclasses.fields(options_type):
        [line] = [line for line in page if line.startswith(f"  {field.name}=")]
        assert len(line.split()) > 2, line


def test_help_lists_the_groups_of_this_command_with_their_choices(
    said: Callable[..., str],
) -> None:
    page = " ".join(said("train", "model=gated", "--help").split())
    for group in ("data", "model", "trainer", "logger", "experiment", "debug", "model/scheduler"):
        choices = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
        assert " | ".join(choices) in page, group
    assert "model=gated" in page
    assert "trainer" not in said("receptive_field", "-h")


def test_cfg_prints_the_configuration_and_runs_nothing(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--cfg", "job", "trainer=cpu", "seed=7") == []
    assert capsys.readouterr().out.startswith("seed: 7\n")


@pytest.mark.parametrize(
    "value",
    [
        "runs/a/epoch=029.ckpt", "my pictures (1)", "a b", "~/x", "/daten/bücher", "a[1]", "x=1,2",
        "it's", "a#b", 'a"b=c',
    ],
)  # fmt: skip
def test_a_text_with_any_sign_in_it_is_taken_as_it_is(value: str, run: Run) -> None:
    [config] = run("trainer=cpu", "logger=none", f"run_dir={value}")
    assert config.run_dir == value


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run_dir=[a/b"], """'run_dir="[a/b"'"""),
        (["run_dir=a,b"], """'run_dir="a,b"'"""),
        (["run_dir=7"], """'run_dir="7"'"""),
        (["run_dir=my", "run"], """'run_dir="my run"'"""),
        (["run_dir=${x/y"], """'run_dir="${x/y"'"""),
        (["-m", "run_dir=a=1,b"], """'run_dir="a=1,b"'"""),
    ],
)
def test_what_can_be_meant_in_two_ways_is_refused_with_how_to_quote_it(
    words: list[str], told: str, refusal: Callable[..., str]
) -> None:
    line = refusal("trainer=cpu", "logger=none", *words)
    assert line.startswith(words[-1])
    assert told in line


@pytest.mark.parametrize("words", [["--foo"], ["--cfg"], ["=3"], ["se ed=3"], ["seed"]])
def test_what_is_neither_flag_nor_option_is_refused(
    words: list[str], refusal: Callable[..., str]
) -> None:
    assert words[0] in refusal(*words)


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A folder with a user's own data and experiment."""
    for group, content in {
        "data": "defaults: [digits]\nmax_examples: 50",
        "experiment": "# @package _global_\ndefaults: [{override /data: mine}]\nseed: 3",
    }.items():
        (tmp_path / "my conf" / group).mkdir(parents=True)
        (tmp_path / "my conf" / group / "mine.yaml").write_text(content)
    return str(tmp_path / "my conf")


def test_files_of_the_users_own_are_found_beside_ours(own: str, run: Run) -> None:
    [config] = run("trainer=cpu", "logger=none", "--config-dir", own, "data=mine")
    assert config.data.max_examples == 50
    assert config.data.num_levels == 17
    [config] = run("trainer=cpu", "logger=none", f"--config-dir={own}", "experiment=mine")
    assert config.data.max_examples == 50
    assert config.seed == 3


def test_files_of_the_users_own_are_among_the_choices(
    own: str, refusal: Callable[..., str], said: Callable[..., str]
) -> None:
    assert ", mine, " in refusal("--config-dir", own, "data=mime")
    assert " | mine |" in said("train", "--config-dir", own, "--help")
    assert refusal("--config-dir", "/nowhere").startswith("--config-dir=/nowhere")


def test_an_error_of_ours_goes_on_its_way(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def task(config: DictConfig) -> None:
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        run("trainer=cpu", "logger=none", "run_dir=x", task=task)
    assert capsys.readouterr().err == ""


def test_a_job_that_fails_leaves_the_others_and_only_bugs_have_tracebacks(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = {1: OptionError("seed=1: odd"), 2: ValueError("planted")}

    def task(config: DictConfig) -> None:
        seen.append(config.seed)
        if config.seed in errors:
            raise errors[config.seed]

    seen: list[int] = []
    words = ["-m", "trainer=cpu", "logger=none", "seed=0,1,2,3", f"hydra.sweep.dir={tmp_path}/out"]
    with pytest.raises(SystemExit) as ended:
        run(*words, task=task)
    assert ended.value.code == 2
    assert seen == [0, 1, 2, 3]
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [
        "error: seed=1: odd",
        "error: 2 of the jobs failed",
    ]
    assert lines.count("Traceback (most recent call last):") == 1
    assert "ValueError: planted" in lines
    assert not any("HYDRA_FULL_ERROR" in line for line in lines)


def test_every_value_of_several_runs_is_checked_before_the_first(
    refusal: Callable[..., str],
) -> None:
    assert refusal("-m", "model=pp,gatd").startswith("model=gatd: no such choice")
    assert refusal("-m", "seed=0,1", "modle=pp").startswith("modle=pp: no such option")


PLANTED = """
import lightning
class Planted(lightning.Callback):
    def on_fit_start(self, trainer, model):
        def forward(*args, **kwargs):
            raise ValueError("planted")
        model.network.forward = forward
"""


@pytest.mark.slow
def test_a_bug_in_a_network_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    ended = forkserver.run(
        "-m", "pixelcnn_lit", "train", *TINY, "debug=fast",
        "+callbacks.planted._target_=planted.Planted",
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "ValueError: planted"
    assert "hydra" not in ended.stderr.lower()


@pytest.mark.slow
def test_the_console_script_starts_the_other_processes_of_a_run(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("pixelcnn-lit")
    options = [*TINY, "trainer=ddp_cpu", "debug=fast", "run_dir=a=b", "callbacks.samples=null"]
    subprocess.run([script, "train", *options], cwd=tmp_path, check=True)
    assert (tmp_path / "a=b/checkpoints/best.ckpt").exists()
