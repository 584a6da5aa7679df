"""A run that was interrupted ends with the same weights, to the last bit, as one that was not."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import forkserver
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning.fabric.utilities.types import _PATH
from picture_files import png
from tiny_runs import TINY, begin_with, rows, train_with

from pixelcnn_lit.callbacks import AveragedWeights
from pixelcnn_lit.callbacks.interruption import SIGNALS
from pixelcnn_lit.checkpoints import AtomicCheckpointIO, global_step, newest_checkpoint
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import LitPixelCNNPP
from pixelcnn_lit.training.resume import check_same_options

# dropout, averaged weights, a falling learning rate, five steps per epoch
OPTIONS = [
    *TINY,
    "logger=none",
    "model.network.dropout=0.5",
    "model.scheduler.decay=0.9",
    "data.max_examples=180",
    "data.batch_size=32",
    "trainer.max_epochs=3",
    "callbacks.samples=null",
    "callbacks.curve=null",
    "callbacks.checkpoints.every_n_steps=2",
    "test=false",
]
run = partial(train_with, OPTIONS)


def final_state(run_dir: Path) -> dict[str, torch.Tensor]:
    """Averaged weights, weights and optimizer moments, flat."""
    checkpoint = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)
    state = {f"average.{name}": value for name, value in checkpoint["state_dict"].items()}
    state |= {f"weights.{name}": v for name, v in checkpoint["current_model_state"].items()}
    for index, moments in checkpoint["optimizer_states"][0]["state"].items():
        state |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    state["learning rate"] = torch.tensor(checkpoint["lr_schedulers"][0]["_last_lr"])
    state["step"] = torch.tensor(checkpoint["global_step"])
    return state


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name, value in one.items() if not torch.equal(value, other[name])]
    assert not different


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("uninterrupted") / "run"
    run(run_dir)
    return run_dir


def test_another_run_is_not_continued_over_this_one(uninterrupted: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", "trainer.max_steps=1")
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = uninterrupted / "checkpoints" / "last.ckpt"
    with pytest.raises(OptionError, match=r"^run_dir=.*/run: holds a run already, which resume="):
        run(tmp_path / "run", f"resume={other}")
    assert {path: path.read_bytes() for path in kept} == kept
    # an empty folder may go on from it
    run(tmp_path / "new", f"resume={other}", "trainer.max_epochs=4")


def test_a_run_that_goes_on_from_another_has_a_best_checkpoint_and_class_names_of_its_own(
    tmp_path: Path,
) -> None:
    three = ["data.num_classes=3", "data.batch_size=64"]
    run(tmp_path / "old", *three, "data.classes=[7,3,1]", "trainer.max_epochs=1")
    checkpoint = torch.load(tmp_path / "old/checkpoints/last.ckpt", weights_only=True)
    [kept] = [kept for name, kept in checkpoint["callbacks"].items() if "Checkpoints" in name]
    kept["best"] = 0.01  # better than any that will come
    torch.save(checkpoint, tmp_path / "good.ckpt")
    options = [*three, "data.classes=[0,1,2]", "trainer.max_epochs=2"]
    best = run(tmp_path / "new", *options, f"resume={tmp_path / 'good.ckpt'}")
    assert best is not None
    assert best > 0.01
    new = torch.load(tmp_path / "new/checkpoints/best.ckpt", weights_only=True)
    assert new["class_names"] == ["0", "1", "2"]
    pictures = [png(np.full((8, 8), n % 17, np.uint8)) for n in range(200)]
    nameless = pa.table({"image": pictures, "label": [n % 3 for n in range(200)]})
    pq.write_table(nameless, tmp_path / "train.parquet")
    facts = ["data.channels=1", "data.num_levels=17", "data.image_size=[8,8]", "data.flip=false"]
    files = ["data=folder", *facts, f"data.path={tmp_path / 'train.parquet'}"]
    options = [*files, *three, "trainer.max_epochs=3"]
    run(tmp_path / "newer", *options, f"resume={tmp_path / 'new/checkpoints/last.ckpt'}")
    newer = torch.load(tmp_path / "newer/checkpoints/last.ckpt", weights_only=True)
    assert newer["class_names"] is None


def test_going_on_from_another_run_with_nothing_left_to_train_is_refused(
    uninterrupted: Path, tmp_path: Path
) -> None:
    last = uninterrupted / "checkpoints" / "last.ckpt"
    for option, already in [("max_epochs=3", 3), ("max_steps=15", 15)]:
        says = rf"^trainer\.{option}: nothing is left to train, .*last\.ckpt has {already}$"
        with pytest.raises(OptionError, match=says):
            run(tmp_path / "run", f"resume={last}", "trainer.max_epochs=9", f"trainer.{option}")
    assert not (tmp_path / "run").exists()


def test_a_requeued_job_goes_on_from_its_own_checkpoints(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"resume={uninterrupted / 'checkpoints' / 'best.ckpt'}"
    run(tmp_path / "run", other, "trainer.max_epochs=4")
    own = global_step(tmp_path / "run/checkpoints/last.ckpt")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run(tmp_path / "run", other, "trainer.max_epochs=5")
    steps = [int(row["step"]) for row in rows(tmp_path / "run") if row["val/bits_per_dim"]]
    assert own == 20
    assert steps == sorted(set(steps))
    assert steps[-1] == 24


def test_the_commands_of_earlier_starts_stay_in_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epochs in ("1", "2"):
        monkeypatch.setattr("sys.argv", ["pixelcnn-lit", "train", f"trainer.max_epochs={epochs}"])
        run(tmp_path / "run", "resume=auto", f"trainer.max_epochs={epochs}")
    lines = (tmp_path / "run/config.yaml").read_text().splitlines()
    commands = [line.split()[-1] for line in lines if line.startswith("# pixelcnn-lit train")]
    assert commands == ["trainer.max_epochs=1", "trainer.max_epochs=2"]


def test_a_run_that_averages_is_not_continued_without(uninterrupted: Path, tmp_path: Path) -> None:
    last = uninterrupted / "checkpoints" / "last.ckpt"
    with pytest.raises(OptionError, match=r"^callbacks\.average: .*last\.ckpt is of a run"):
        run(tmp_path / "run", f"resume={last}", "callbacks.average=null")


@pytest.mark.parametrize("stop", [3, 5, pytest.param(8, marks=pytest.mark.slow)])
def test_a_run_stopped_within_or_between_epochs_goes_on_exactly(
    stop: int, uninterrupted: Path, tmp_path: Path
) -> None:
    run(tmp_path / "run", f"trainer.max_steps={stop}")
    assert global_step(tmp_path / "run/checkpoints/last.ckpt") == stop
    run(tmp_path / "run", "resume=auto")
    assert_same(final_state(tmp_path / "run"), final_state(uninterrupted))


@pytest.mark.slow
def test_a_resumed_run_logs_every_step_once(tmp_path: Path) -> None:
    def column(run_dir: Path) -> list[tuple[str, str]]:
        name = "train/bits_per_dim"
        return [(row["step"], row[name]) for row in rows(run_dir) if row[name]]

    run(tmp_path / "run", "trainer.max_steps=8", "trainer.log_every_n_steps=1")
    (tmp_path / "run/checkpoints/last.ckpt").unlink()  # best.ckpt is at step 5
    run(tmp_path / "run", "resume=auto", "trainer.log_every_n_steps=1")
    run(tmp_path / "whole", "trainer.log_every_n_steps=1")
    assert column(tmp_path / "run") == column(tmp_path / "whole")


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    """Gives the signals back what a run that is stopped leaves behind."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def measured(run_dir: Path) -> list[dict[str, str]]:
    """metrics.csv without what is measured by the clock, empty cells left out."""
    return [
        {name: value for name, value in row.items() if value and "per_second" not in name}
        for row in rows(run_dir)
    ]


@pytest.mark.usefixtures("signal_handlers")
@pytest.mark.parametrize(
    ("owner", "hook"),
    [
        (LitPixelCNNPP, "validation_step"),
        (AveragedWeights, "on_validation_epoch_end"),  # it follows the pictures
    ],
)
def test_a_signal_during_a_validation_acts_at_once_and_the_validation_is_repeated(
    owner: type,
    hook: str,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = getattr(owner, hook)
    calls: list[int] = []

    def signalled(*arguments: object) -> object:
        calls.append(len(calls))
        if len(calls) == 2:  # in the validation after the second epoch, step 10
            signal.raise_signal(signal.SIGTERM)
            calls.append(-1)  # not reached
        return whole(*arguments)

    monkeypatch.setattr(owner, hook, signalled)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "run")
    monkeypatch.undo()
    assert ended.value.code == 128 + signal.SIGTERM
    assert calls == [0, 1]
    assert "stopped by SIGTERM after step 10;" in capsys.readouterr().err
    assert "val/bits_per_dim" not in measured(tmp_path / "run")[-1]
    run(tmp_path / "run", "resume=auto")
    assert_same(final_state(tmp_path / "run"), final_state(uninterrupted))
    assert measured(tmp_path / "run") == measured(uninterrupted)
    best = [
        torch.load(d / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        for d in (tmp_path / "run", uninterrupted)
    ]
    assert_same(*best)


@pytest.mark.usefixtures("signal_handlers")
@pytest.mark.parametrize(
    # steps 2 and 4; before the validation of step 5, its best, the end of the epoch; 6 and 8; 10
    "number",
    [3, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2, 4, 5, 6, 7, 8, 9))],
)
def test_a_run_that_dies_after_any_save_goes_on_exactly_and_validates_once(
    number: int, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DiedError(BaseException):
        pass

    saved: list[_PATH] = []

    class Dying(AtomicCheckpointIO):
        def save_checkpoint(
            self, checkpoint: dict[str, object], path: _PATH, storage_options: object = None
        ) -> None:
            super().save_checkpoint(checkpoint, path)
            saved.append(path)
            if len(saved) == number:
                raise DiedError

    monkeypatch.setattr("pixelcnn_lit.checkpoints.AtomicCheckpointIO", Dying)
    with pytest.raises(DiedError):
        run(tmp_path / "run")
    monkeypatch.undo()
    run(tmp_path / "run", "resume=auto")
    assert_same(final_state(tmp_path / "run"), final_state(uninterrupted))
    assert [r for r in measured(tmp_path / "run") if "val/bits_per_dim" in r] == [
        r for r in measured(uninterrupted) if "val/bits_per_dim" in r
    ]


def test_a_truncated_checkpoint_is_skipped_with_a_warning(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run", "trainer.max_steps=8")
    last = tmp_path / "run/checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    assert newest_checkpoint(tmp_path / "run") == (last.with_name("best.ckpt"), [last])
    run(tmp_path / "run", "resume=auto")
    assert f"warning: {last} is damaged" in capsys.readouterr().err
    assert_same(final_state(tmp_path / "run"), final_state(uninterrupted))


def test_a_flipped_bit_in_a_checkpoint_is_noticed(uninterrupted: Path, tmp_path: Path) -> None:
    content = bytearray((uninterrupted / "checkpoints/last.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.ckpt").write_bytes(content)
    assert global_step(tmp_path / "flipped.ckpt") is None


def test_the_newest_of_best_last_and_slurms_checkpoint_is_resumed(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    checkpoint = torch.load(uninterrupted / "checkpoints/last.ckpt", weights_only=True)
    files = {"checkpoints/best.ckpt": 4, "checkpoints/last.ckpt": 7, "hpc_ckpt_1.ckpt": 9}
    for name, step in files.items():
        torch.save(checkpoint | {"global_step": step}, tmp_path / name)
        assert newest_checkpoint(tmp_path) == (tmp_path / name, [])


def test_resuming_where_nothing_is_starts_a_new_run(tmp_path: Path) -> None:
    run(tmp_path / "run", "resume=auto", "trainer.max_epochs=1")
    assert global_step(tmp_path / "run/checkpoints/last.ckpt") == 5


def test_resuming_from_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"^resume=.*not a readable checkpoint"):
        run(tmp_path / "run", f"resume={tmp_path}/none.ckpt")


@pytest.mark.parametrize(
    ("option", "kept", "configured"),
    [
        ("model.network.num_filters", "4", "6"),
        ("model.network.resnet_activation", "concat_elu", "elu"),
        ("model.network.receptive_field_dims", r"\[3, 3\]", "[3,5]"),
    ],
)
def test_another_model_than_the_checkpoints_is_refused_before_the_folder_is_touched(
    option: str, kept: str, configured: str, uninterrupted: Path
) -> None:
    before = (uninterrupted / "config.yaml").read_text()
    shown = configured.replace(",", ", ").replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(OptionError, match=f"^{option}={shown}: .* trained with {kept};") as error:
        run(uninterrupted, "resume=auto", f"{option}={configured}")
    assert "\n" not in str(error.value)
    assert (uninterrupted / "config.yaml").read_text() == before


def test_another_kind_of_model_than_the_checkpoints_is_refused(
    uninterrupted: Path, tmp_path: Path
) -> None:
    last = uninterrupted / "checkpoints/last.ckpt"
    options = [option for option in OPTIONS if not option.startswith("model")]
    with pytest.raises(OptionError, match="is of another kind") as error:
        train_with(options, tmp_path / "run", "model=pixelcnn", f"resume={last}")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


NESTED = {"image_size": (8, 8), "network": {"num_filters": 4, "dropout": 0.5}, "condition": None}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"network": {"num_filters": 8, "dropout": 0.5}},
            r"^model\.network\.num_filters=8: .*with 4",
        ),
        ({"network": {"num_layers": 4, "dropout": 0}}, r"^model\.network: .*kind .*num_filters"),
        ({"condition": {"num_classes": 3}}, r"^model\.condition=.*num_classes.*with None"),
        ({"image_size": [8, 9]}, r"^model\.image_size=\[8, 9\]: "),
    ],
)
def test_options_within_options_are_compared_and_named_with_dots(
    changed: dict[str, object], message: str
) -> None:
    check_same_options(Path("last.ckpt"), NESTED, NESTED | {"image_size": [8, 8]})
    check_same_options(Path("x"), NESTED, NESTED | {"network": {"num_filters": 4, "dropout": 0}})
    with pytest.raises(OptionError, match=message) as error:
        check_same_options(Path("last.ckpt"), NESTED, NESTED | changed)
    assert "\n" not in str(error.value)


def test_a_resumed_run_may_change_its_dropout_and_clears_away_what_a_kill_left(
    tmp_path: Path,
) -> None:
    run(tmp_path / "run", "trainer.max_epochs=1")
    unfinished = tmp_path / "run/checkpoints/.last.ckpt.12345"
    unfinished.write_bytes(b"half")
    run(tmp_path / "run", "resume=auto", "trainer.max_epochs=2", "model.network.dropout=0.1")
    assert {path.name for path in unfinished.parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert global_step(tmp_path / "run/checkpoints/last.ckpt") == 10


def wait_for_checkpoint(process: forkserver.Command | subprocess.Popen[str], run_dir: Path) -> None:
    for _ in range(1200):
        if (run_dir / "checkpoints/last.ckpt").exists() or process.poll() is not None:
            return
        time.sleep(0.1)


@pytest.mark.slow
def test_a_run_killed_at_a_random_step_goes_on_exactly(uninterrupted: Path, tmp_path: Path) -> None:
    process = begin_with(OPTIONS, tmp_path / "run")
    wait_for_checkpoint(process, tmp_path / "run")
    time.sleep(random.Random().uniform(0, 1))
    process.kill()
    process.communicate()
    run(tmp_path / "run", "resume=auto")
    assert_same(final_state(tmp_path / "run"), final_state(uninterrupted))


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_the_run_goes_on_exactly(
    signum: signal.Signals, tmp_path: Path
) -> None:
    # epochs beyond those of the other runs, so that it is not over before the signal
    options = ["trainer.max_epochs=400", "callbacks.checkpoints.every_n_steps=null"]
    process = begin_with(OPTIONS, tmp_path / "run", *options)
    wait_for_checkpoint(process, tmp_path / "run")
    process.send_signal(signum)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 128 + signum
    stopped = global_step(tmp_path / "run/checkpoints/last.ckpt")
    assert f"stopped by {signum.name} after step {stopped};" in said
    assert "Traceback" not in said
    assert stopped is not None
    end = f"trainer.max_epochs={stopped // 5 + 1}"
    run(tmp_path / "run", "resume=auto", end)
    run(tmp_path / "whole", end)
    assert_same(final_state(tmp_path / "run"), final_state(tmp_path / "whole"))
