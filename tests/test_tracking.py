"""Numbers and pictures of a run, and that nothing of W&B's can stop it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import forkserver
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import TINY, begin_with, rows, train_with

from pixelcnn_lit.commands.train import train as train_command
from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.loggers.metrics_file import MetricsFile
from pixelcnn_lit.loggers.wandb_mode import choose_mode
from pixelcnn_lit.loggers.wandb_tracker import WandbTracker, run_id
from pixelcnn_lit.messages import OptionError

OPTIONS = [
    *TINY,
    "data.batch_size=32",
    "trainer.limit_train_batches=2",
    "trainer.limit_test_batches=1",
    "trainer.log_every_n_steps=1",
    "trainer.max_epochs=1",
    "callbacks.samples.num_rows=1",
    "callbacks.samples.num_columns=2",
    "callbacks.curve=null",
]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with three loggers."""
    run_dir = tmp_path_factory.mktemp("tracked") / "run"
    csv = ["_target_=lightning.pytorch.loggers.CSVLogger", f"save_dir={run_dir}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        added = [f"+logger.csv.{option}" for option in csv]
        train_with(OPTIONS, run_dir, "logger=[wandb,tensorboard]", *added)
    return run_dir


def records(run_dir: Path) -> str:
    """What the W&B run of a folder holds, read back by W&B's own client."""
    [folder] = (run_dir / "wandb").glob("offline-run-*")
    shown = forkserver.run("-m", "wandb", "leet", "inspect", str(folder), "--summary", "--json")
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def test_numbers_of_a_step_share_a_row_and_new_columns_reach_back(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.log_metrics({"a": 1.5}, step=0)
    metrics.log_metrics({"a": 2.5}, step=1)
    metrics.log_metrics({"b": 0.25}, step=1)
    metrics.log_metrics({"c": 1e-9}, step=2)
    metrics.save()
    assert rows(tmp_path) == [
        {"step": "0", "a": "1.5", "b": "", "c": ""},
        {"step": "1", "a": "2.5", "b": "0.25", "c": ""},
        {"step": "2", "a": "", "b": "", "c": "1e-09"},
    ]


def test_a_resumed_table_drops_what_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    for step in range(4):
        metrics.log_metrics({"a": step}, step=step)
    metrics.save()
    with path.open("a") as file:
        file.write("4")  # a line cut short by a kill
    resumed = MetricsFile(path)
    resumed.keep_until(2)
    resumed.log_metrics({"a": 20}, step=2)
    resumed.save()
    kept = [(row["step"], row["a"]) for row in rows(tmp_path)]
    assert kept == [("0", "0"), ("1", "1"), ("2", "20")]


def test_a_row_that_was_written_takes_up_more_numbers_of_its_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    for step in range(3):
        metrics.log_metrics({"a": step}, step=step)
        metrics.save()  # as before a checkpoint
        metrics.log_metrics({"b": 10 + step}, step=step)
    metrics.save()
    resumed = MetricsFile(path)
    resumed.keep_until(3)
    resumed.log_metrics({"b": 12}, step=2)  # a validation that is repeated
    resumed.log_metrics({"c": 7}, step=2)
    kept = [(row["a"], row["b"]) for row in rows(tmp_path)]
    assert kept == [("0", "10"), ("1", "11"), ("2", "12")]
    resumed.save()
    assert [row["c"] for row in rows(tmp_path)] == ["", "", "7"]


@pytest.mark.parametrize(
    ("variable", "mode"),
    [
        ("online", "online"),
        ("offline", "offline"),
        ("disabled", "disabled"),
        ("dryrun", "offline"),
    ],
)
def test_the_environment_decides_the_mode(
    variable: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    assert choose_mode() == mode


def test_an_unknown_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(OptionError, match="WANDB_MODE=onlin: must be online, offline or disabled"):
        choose_mode()


def test_without_a_key_a_run_is_kept_offline_and_this_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert choose_mode() == "offline"
    assert capsys.readouterr().err.startswith("W&B: not logged in, kept offline")


@pytest.mark.parametrize("key", ["short", " ", "0" * 39])
def test_a_malformed_key_leaves_the_run_offline_with_one_line(
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert choose_mode() == "offline"
    [said] = capfd.readouterr().err.splitlines()
    assert said.startswith("W&B: ")
    assert "API key" in said
    assert said.endswith("; kept offline (WANDB_MODE=disabled for none)")


def test_two_runs_of_one_slurm_job_are_two_runs_and_each_stays_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one, two = (run_id(folder) for folder in folders)
    assert one != two
    assert one.startswith("slurm-17-")
    assert [run_id(folder) for folder in folders] == [one, two]  # after a requeue


def test_a_run_keeps_its_curves_configuration_and_pictures(tracked: Path) -> None:
    [folder] = (tracked / "wandb").glob("offline-run-*")
    assert folder.name.endswith((tracked / "wandb_run_id").read_text())
    assert list(folder.glob("files/media/images/samples_*.png"))
    shown = records(tracked)
    logged = ("train/bits_per_dim", "val/bits_per_dim", "val/nats_per_dim", "test/bits_per_dim")
    for name in (*logged, "lr-Adam", "gradient_norm", "images_per_second", "num_filters"):
        assert name in shown, name


def test_tensorboard_gets_the_curves_the_configuration_and_the_pictures(tracked: Path) -> None:
    events = EventAccumulator(str(tracked / "tensorboard")).Reload()
    for name in ("train/bits_per_dim", "val/bits_per_dim", "test/bits_per_dim"):
        sent = [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]
        assert [(int(r["step"]), float(r[name])) for r in rows(tracked) if r[name]] == sent
    [drawn] = events.Images("samples")
    assert drawn.step == 1  # of two steps
    with Image.open(tracked / "samples/epoch=000.png") as picture:
        assert (drawn.width, drawn.height) == picture.size
    kept = yaml.safe_load((tracked / "tensorboard/hparams.yaml").read_text())
    assert kept["data"]["batch_size"] == 32


def test_a_logger_that_takes_no_pictures_gets_the_numbers_and_the_configuration(
    tracked: Path,
) -> None:
    [folder] = (tracked / "lightning_logs").iterdir()
    assert "test/bits_per_dim" in (folder / "metrics.csv").read_text()
    assert yaml.safe_load((folder / "hparams.yaml").read_text())["data"]["batch_size"] == 32


def test_a_logger_whose_library_is_not_installed_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for library in ("TENSORBOARD", "TENSORBOARDX"):
        name = f"lightning.fabric.loggers.tensorboard._{library}_AVAILABLE"
        monkeypatch.setattr(name, False)
    with pytest.raises(OptionError, match=r"^logger\.tensorboard: .*tensorboard") as error:
        train_with(OPTIONS, tmp_path / "run", "logger=tensorboard")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_online_without_a_network_goes_on_offline(tmp_path: Path) -> None:
    """A key, but a server that does not exist: the run falls back and says so."""
    environment = {
        "WANDB_MODE": "online",
        "WANDB_API_KEY": "0" * 40,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
    }
    timeout = "logger.wandb.init_timeout=5"
    process = begin_with(OPTIONS, tmp_path / "run", timeout, environment=environment)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert said.count("W&B: cannot be reached, going on offline") == 1
    assert "Traceback" not in said
    assert rows(tmp_path / "run")[-1]["test/bits_per_dim"]


OWN_MOUNTS = ["unshare", "--map-root-user", "--mount"]
"""Runs a command whose mounts nobody else sees, and which are gone with it."""


def may_mount() -> bool:
    """Whether this system lets this user do so; containers often do not."""
    mount = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    has_unshare = shutil.which("unshare") is not None
    return has_unshare and not subprocess.run(mount, capture_output=True, check=False).returncode


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="needs the right to mount a full disk")
@pytest.mark.parametrize("options", ["size=16k", "size=16k,ro"])
def test_a_full_or_read_only_wandb_folder_does_not_stop_training(
    options: str, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "wandb").mkdir(parents=True)
    mount = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"'
    on_small_disk = [*OWN_MOUNTS, "sh", "-c", mount, options, str(run_dir / "wandb")]
    environment = {"WANDB_MODE": "offline"}
    process = begin_with(OPTIONS, run_dir, environment=environment, run_by=on_small_disk)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "W&B: " in said
    assert "Traceback" not in said, said
    assert rows(run_dir)[-1]["test/bits_per_dim"]
    assert not list((run_dir / "wandb").iterdir())  # what was written went to the mounted disk


def test_a_failure_in_mid_run_ends_the_tracking_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = WandbTracker(str(tmp_path))
    run = tracker.experiment
    assert run is not None

    def broken(_: dict[str, float]) -> None:
        raise BrokenPipeError("the service is gone")

    monkeypatch.setattr(run, "log", broken)
    tracker.log_metrics({"a": 1.0}, step=0)
    tracker.log_metrics({"a": 2.0}, step=1)
    tracker.log_picture("samples", torch.zeros(4, 4, 3, dtype=torch.uint8), 1)
    assert capsys.readouterr().err.count("W&B: tracking ends here, the service is gone") == 1
    run.finish()


def test_a_trial_whose_options_do_not_go_together_is_marked_invalid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"MODE": "offline", "SWEEP_ID": "abc", "RUN_ID": "def"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    with pytest.raises(OptionError, match="num_hierarchies=9"):
        train_command(compose_config("train", [*OPTIONS, "model.network.num_hierarchies=9"]))
    assert "num_hierarchies=9" in records(tmp_path)
