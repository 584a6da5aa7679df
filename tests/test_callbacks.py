"""What happens around the training steps."""

from __future__ import annotations

import copy
import math
import os
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import forkserver
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import Callback, Trainer
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins.precision import Precision
from tiny_runs import TINY, train_with
from torch import nn

from pixelcnn_lit.callbacks import (
    AveragedWeights,
    Checkpoints,
    NaNGuard,
    ProgressBar,
    ProgressLines,
    SampleGrid,
    StepSeeds,
)
from pixelcnn_lit.callbacks.curve import learning_curve, smooth
from pixelcnn_lit.callbacks.interruption import Interrupted, Interruption
from pixelcnn_lit.callbacks.samples import choose_per_class
from pixelcnn_lit.checkpoints import AtomicCheckpointIO, global_step
from pixelcnn_lit.data import DigitsDataModule
from pixelcnn_lit.images import enlarge
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import LitPixelCNNPP, schedules

OPTIONS = [
    *TINY,
    "logger=none",
    "data.batch_size=64",
    "trainer.limit_train_batches=3",
    "trainer.max_epochs=1",
    "callbacks.samples=null",
    "callbacks.curve=null",
    "test=false",
]
run = partial(train_with, OPTIONS)


def stepped(at_batch: int, rank: int = 0) -> torch.Tensor:
    """Random numbers after StepSeeds has seen the start of a batch."""
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=at_batch))
    trainer = cast(Trainer, SimpleNamespace(fit_loop=loop, global_rank=rank))
    StepSeeds(seed=7).on_train_batch_start(
        trainer,
        LitPixelCNNPP(1, 2, [2, 2], network={"num_hierarchies": 1, "num_filters": 2}),
        {},
        0,
    )
    return torch.rand(8)


def test_random_numbers_of_a_step_depend_on_the_step_and_the_process_alone() -> None:
    first = stepped(5)
    torch.rand(3)
    assert torch.equal(stepped(5), first)
    assert not torch.equal(stepped(6), first)
    assert not torch.equal(stepped(5, rank=1), first)


def test_the_averaged_weights_follow_their_recursion_from_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recomputed from the weights after every step, with the decay min(d, (1 + n) / (10 + n))."""
    decay = 0.3
    kept: list[dict[str, dict[str, torch.Tensor]]] = []

    class Keeping(AtomicCheckpointIO):
        def save_checkpoint(
            self, checkpoint: dict, path: _PATH, storage_options: object = None
        ) -> None:
            if len(kept) < checkpoint["global_step"]:  # a step is saved more than once
                kept.append(copy.deepcopy(checkpoint))

    monkeypatch.setattr("pixelcnn_lit.checkpoints.AtomicCheckpointIO", Keeping)
    options = [f"callbacks.average.decay={decay}", "callbacks.checkpoints.every_n_steps=1"]
    run(tmp_path / "run", *options)
    assert len(kept) == 3
    expected = dict(kept[0]["current_model_state"])
    for number, checkpoint in enumerate(kept[1:], start=1):
        weight = min(decay, (1 + number) / (10 + number))
        for name, value in checkpoint["current_model_state"].items():
            expected[name] = weight * expected[name] + (1 - weight) * value
    for name, value in kept[-1]["state_dict"].items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_validation_measures_the_averaged_weights(tmp_path: Path) -> None:
    for decay in (0.0, 0.99):
        run(tmp_path / str(decay), f"callbacks.average.decay={decay}")
    plain, averaged = (
        torch.load(tmp_path / name / "checkpoints/best.ckpt", weights_only=True)
        for name in ("0.0", "0.99")
    )
    for name, value in plain["current_model_state"].items():
        assert torch.equal(value, averaged["current_model_state"][name])  # training is the same
        assert torch.equal(value, plain["state_dict"][name])  # decay 0 averages nothing
    key = next(k for k in plain["callbacks"] if k.startswith("Checkpoints"))
    assert plain["callbacks"][key]["best"] != averaged["callbacks"][key]["best"]


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_step_batch_and_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = LitPixelCNNPP.training_step

    def poisoned(model: LitPixelCNNPP, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        return whole(model, batch, index) * (math.nan if model.global_step == 4 else 1)

    monkeypatch.setattr(LitPixelCNNPP, "training_step", poisoned)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "run", "trainer.max_epochs=3")
    assert ended.value.code == 1
    [message] = [m for m in capsys.readouterr().err.splitlines() if m.startswith("error: ")]
    assert "the loss is nan at step 4 (epoch 1, batch 1, " in message
    assert str(tmp_path / "run/checkpoints/last.ckpt") in message
    kept = torch.load(tmp_path / "run/bad_batch-rank0.pt", weights_only=True)
    assert kept["image"].shape == (64, 1, 8, 8)
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 3
    assert all(value.isfinite().all() for value in last["state_dict"].values())


def test_a_gradient_that_is_not_a_number_spoils_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = LitPixelCNNPP.training_step

    def spoilt(model: LitPixelCNNPP, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        loss = whole(model, batch, index)
        if model.global_step == 5:  # adds 0; its derivative is 0 times infinity
            loss = loss + (0 * sum(p.sum() for p in model.parameters())).sqrt()
        return loss

    monkeypatch.setattr(LitPixelCNNPP, "training_step", spoilt)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "run", "trainer.max_epochs=2")
    assert ended.value.code == 1
    [message] = [m for m in capsys.readouterr().err.splitlines() if m.startswith("error: ")]
    assert "the weights are not finite after step 6" in message
    for name in ("last", "best"):
        kept = torch.load(tmp_path / f"run/checkpoints/{name}.ckpt", weights_only=True)
        assert kept["global_step"] == 3


def test_the_average_lies_where_the_weights_go_and_its_count_where_python_reads_it() -> None:
    """On the meta device, as if it were a GPU to which the model has not been moved yet."""
    strategy = SimpleNamespace(root_device=torch.device("meta"))
    model = LitPixelCNNPP(1, 2, [2, 2], network={"num_hierarchies": 1, "num_filters": 2})
    callback = AveragedWeights()
    trainer = SimpleNamespace(strategy=strategy, precision_plugin=Precision())
    callback.setup(cast(Trainer, trainer), model, "fit")
    average = callback._average_model
    assert average is not None
    assert {parameter.device.type for parameter in average.module.parameters()} == {"meta"}
    assert average.n_averaged.device.type == "cpu"
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_without_a_terminal_lines_tell_how_far_the_run_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["trainer.max_epochs=2", "callbacks.progress_lines.every_n_seconds=0.0", "test=true"]
    every_step = ["trainer.log_every_n_steps=1", "trainer.limit_test_batches=2"]
    run(tmp_path / "run", *options, *every_step)
    said = capsys.readouterr().out.splitlines()
    trained = [line for line in said if line.startswith("epoch ") and "step" in line]
    assert [line.split(", ")[1] for line in trained] == [f"step {n} of 6" for n in range(1, 7)]
    assert all("train/bits_per_dim " in line and " images/s" in line for line in trained)
    assert trained[-1].endswith(" 0 s left")
    others = [line for line in said if "batch" in line]
    validated = [f"epoch {epoch}, validation, batch 1 of 1" for epoch in (0, 1)]
    assert others == [*validated, "test, batch 1 of 2", "test, batch 2 of 2"]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 6), st.integers(1, 3))
def test_every_column_of_the_samples_shows_one_class(
    labels: list[int], num_classes: int, num_each: int
) -> None:
    chosen = choose_per_class(torch.tensor(labels), num_classes, num_each)
    rows = torch.tensor(labels)[chosen].reshape(num_each, -1)
    assert rows.shape[1] == min(num_classes, len(set(labels)))
    assert all(len(set(column.tolist())) == 1 for column in rows.T)
    assert len(set(rows[0].tolist())) == rows.shape[1]


def test_drawn_images_are_of_the_class_of_the_real_ones_above() -> None:
    model = LitPixelCNNPP(
        1, 4, [3, 3], num_classes=3, network={"num_filters": 2, "num_hierarchies": 1}
    )
    asked: list[list[int]] = []
    model.sample = lambda number, cond, **_: (  # type: ignore[method-assign]
        asked.append(cond.tolist()) or torch.zeros(number, 1, 3, 3, dtype=torch.uint8)
    )
    batch = {
        "image": torch.full((6, 1, 3, 3), 3, dtype=torch.uint8),
        "label": torch.tensor([2, 0, 1, 1, 0, 2]),
    }
    picture = SampleGrid(num_columns=3, num_rows=2).picture(model, batch)
    assert asked == [[0, 1, 2, 0, 1, 2]]
    height = picture.shape[0]
    inside = picture[:, 20].unique().tolist()
    assert set(inside) <= {0, 128, 255}
    assert (picture[: height // 2] == 0).sum() == 0  # real: all at the top level
    assert (picture[height // 2 :] == 255).sum() == 0  # drawn: all at level 0


def test_the_bar_reads_the_figures_of_logged_steps_and_of_validations_only() -> None:
    bar, shown = ProgressBar(), []
    trainer = SimpleNamespace(is_global_zero=True, loggers=[], log_every_n_steps=3, training=True)
    bar.setup(trainer, None, "fit")  # type: ignore[arg-type]
    for step in range(1, 6):
        trainer.global_step, trainer.training = step, step != 5
        trainer.progress_bar_metrics = {"x": torch.tensor(float(step))}
        shown.append(bar.get_metrics(trainer, None).get("x"))  # type: ignore[arg-type]
    assert shown == [None, None, 3, 3, 5]


def test_small_pictures_are_enlarged_by_whole_pixels() -> None:
    picture = torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3)
    large = enlarge(picture, 7)
    assert large.shape == (6, 6, 3)
    assert torch.equal(large[::3, ::3], picture)
    assert torch.equal(enlarge(large, 5), large)


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=200))
def test_a_smoothed_curve_stays_within_the_values_it_averages(values: list[float]) -> None:
    smoothed = smooth(values)
    assert len(smoothed) == len(values)
    assert smoothed[0] == pytest.approx(values[0])
    assert all(min(values) - 1e-9 <= value <= max(values) + 1e-9 for value in smoothed)


def test_the_learning_curve_marks_the_best_validation() -> None:
    figure = learning_curve({0: 3.0, 1: 2.0}, {1: 2.5, 2: 1.75, 3: 1.9}, "bits/dim")
    [axes] = figure.axes
    assert [text.get_text() for text in axes.texts] == ["1.750"]


def test_schedules_have_their_closed_forms() -> None:
    def rates(make: object, count: int, **options: float) -> list[float]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
        scheduler = make(optimizer, **options)  # type: ignore[operator]
        found = []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    assert rates(schedules.exponential, 4, decay=0.5) == pytest.approx([2, 1, 0.5, 0.25])
    warmed = rates(schedules.exponential, 4, decay=1.0, num_warmup_steps=4)
    assert warmed == pytest.approx([0.5, 1, 1.5, 2])
    cosine = rates(schedules.cosine, 6, num_steps=4, final_factor=0.5)
    expected = [0.5 + 0.5 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert cosine == pytest.approx([2 * factor for factor in [*expected, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (lambda: AveragedWeights(decay=1.0), r"callbacks\.average\.decay=1\.0"),
        (lambda: SampleGrid(num_rows=0), r"callbacks\.samples\.num_rows=0"),
        (lambda: Checkpoints(".", every_n_steps=0), r"callbacks\.checkpoints\.every_n_steps=0"),
        (lambda: Checkpoints(".", every_n_minutes=0), r"every_n_minutes=0"),
        (lambda: StepSeeds(seed=-1), r"seed=-1"),
        (lambda: ProgressLines(every_n_seconds=-1), r"progress_lines\.every_n_seconds=-1"),
        (lambda: NaNGuard(every_n_steps=0), r"callbacks\.nan_guard\.every_n_steps=0"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(callback: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        callback()  # type: ignore[operator]


def test_lines_tell_how_far_a_run_of_short_epochs_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter(range(10_000))  # the clock goes on by one whenever it is read
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("pixelcnn_lit.progress.time", clock)
    options = ["trainer.max_epochs=4", "trainer.limit_train_batches=2"]
    run(tmp_path / "run", *options, "callbacks.progress_lines.every_n_seconds=5")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert 2 <= len(lines) <= 4  # of 8 steps and 4 validations; no epoch alone takes 5 seconds


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    writer, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    writer.save_checkpoint({"global_step": 1}, path)

    class Broken:
        def __reduce__(self) -> tuple[object, ...]:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        writer.save_checkpoint({"global_step": 2, "broken": Broken()}, path)
    assert torch.load(path, weights_only=True) == {"global_step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_outside_of_training_a_warning_requeues_the_slurm_job_at_once(tmp_path: Path) -> None:
    """With a scontrol that writes down what it is asked."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    script = tmp_path / "warned.py"
    script.write_text(
        "import signal, time\nfrom pixelcnn_lit.training.slurm import requeue_at_warning\n"
        "requeue_at_warning()\nsignal.raise_signal(signal.SIGUSR1)\ntime.sleep(290)\n"
    )
    environment = {
        **os.environ, "SLURM_JOB_ID": "7", "SLURM_PROCID": "0",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }  # fmt: skip
    assert forkserver.run(str(script), env=environment).returncode == 0
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


class SignalInTheLastStep(Callback):
    """As if the system ended the process while the last step is taken."""

    def on_before_zero_grad(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == 2:
            signal.raise_signal(signal.SIGTERM)


def test_a_signal_in_the_last_step_is_acted_upon_and_nothing_is_lost(tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=3, limit_val_batches=0, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        callbacks=[SignalInTheLastStep(), Checkpoints(str(tmp_path / "checkpoints"))],
    )  # fmt: skip
    model = LitPixelCNNPP(
        1, 17, [8, 8], network={"num_hierarchies": 1, "num_filters": 2, "num_resnet": 1}
    )
    with pytest.raises(Interrupted, match="SIGTERM after step 3"):
        trainer.fit(model, datamodule=DigitsDataModule(batch_size=8))
    assert global_step(tmp_path / "checkpoints/last.ckpt") == 3


def test_a_signal_waits_for_the_end_of_the_step_and_a_second_ctrl_c_does_not() -> None:
    trainer = cast(Trainer, SimpleNamespace(world_size=1))
    interruption = Interruption()
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    interruption.listen()
    try:
        assert interruption.pending(trainer) == 0
        signal.raise_signal(signal.SIGINT)
        assert interruption.pending(trainer) == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        interruption.stop_listening()
        for signum, handler in before.items():
            signal.signal(signum, handler)
