"""One run from the command line's options to the files it leaves."""

from __future__ import annotations

import itertools
import math
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Timer
from PIL import Image
from tiny_runs import CURVE, TINY, rows, train_with

from pixelcnn_lit.checkpoints import global_step
from pixelcnn_lit.data import DigitsDataModule
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import LitPixelCNNPP
from pixelcnn_lit.models.loading import load_model
from pixelcnn_lit.networks.pixelcnn_pp import PixelCNNPP

OPTIONS = [
    *TINY,
    "logger=none",
    "model.network.num_filters=8",
    "model.network.num_hierarchies=2",
    "data.batch_size=32",
    "trainer.limit_train_batches=4",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
    "trainer.log_every_n_steps=2",
    "trainer.max_epochs=2",
    "callbacks.samples.num_rows=1",
]
QUICK = ["callbacks.curve=null", "callbacks.samples.num_columns=2"]
OF_ANY_MODEL = [o for o in OPTIONS if not o.startswith(("model", "callbacks.samples"))]
run = partial(train_with, [*OPTIONS, *QUICK])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; what it said lies beside it."""
    run_dir = tmp_path_factory.mktemp("train") / "run"
    with (run_dir.parent / "said").open("w") as said, redirect_stdout(said):
        train_with(OPTIONS, run_dir, CURVE, "callbacks.samples.every_n_epochs=2")
    return run_dir


def test_a_run_leaves_its_files(finished: Path) -> None:
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml",
        "metrics.csv",
        "nll_curve.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "samples/epoch=001.png",
    }


def test_the_last_row_of_the_metrics_is_the_closing_test(finished: Path) -> None:
    last = rows(finished)[-1]
    bits, nats = float(last["test/bits_per_dim"]), float(last["test/nats_per_dim"])
    assert bits == pytest.approx(nats / torch.tensor(2.0).log().item(), rel=1e-6)


def test_metrics_hold_training_validation_and_speed_by_step(finished: Path) -> None:
    def steps(name: str) -> list[int]:
        return [int(row["step"]) for row in rows(finished) if row[name]]

    for name in ("train/bits_per_dim", "lr-Adam", "gradient_norm", "images_per_second"):
        assert steps(name) == [1, 3, 5, 7]
    for name in ("val/bits_per_dim", "val/nats_per_dim"):
        assert steps(name) == [3, 7]


def test_the_summary_suggests_what_works_with_the_model(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["model=conv_autoencoder", "callbacks.reconstructions=null", "trainer.max_steps=1"]
    train_with([*OF_ANY_MODEL, "callbacks.curve=null"], tmp_path / "run", *options, "test=false")
    of_a_baseline, of_a_model = capsys.readouterr().out, (finished.parent / "said").read_text()
    assert "pixelcnn-lit sample" in of_a_model
    assert "reconstruct" not in of_a_model
    assert "reconstruct" in of_a_baseline
    assert "pixelcnn-lit sample" not in of_a_baseline


@pytest.mark.parametrize("option", ["trainer.max_steps=3", "trainer.max_time=00:00:00:01"])
def test_a_run_cut_short_within_an_epoch_is_validated_drawn_tested_and_can_go_on(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, 0.0, 0.0])  # asked before the first step and after each of the first two
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: next(seconds, 9.0))
    run(tmp_path / "run", option, "callbacks.samples.every_n_epochs=9", "trainer.max_epochs=9")
    assert global_step(tmp_path / "run/checkpoints/last.ckpt") == 3
    validated, tested = rows(tmp_path / "run")[-2:]
    assert validated["step"] == "2"
    assert validated["val/bits_per_dim"]
    assert tested["test/bits_per_dim"]
    assert (tmp_path / "run/samples/epoch=000.png").exists()
    run(tmp_path / "run", "resume=auto", "trainer.max_epochs=1", "test=false")
    # every second step, and the one that was the last
    assert [r["step"] for r in rows(tmp_path / "run") if r["train/bits_per_dim"]] == [
        "1",
        "2",
        "3",
    ]
    assert [r["step"] for r in rows(tmp_path / "run") if r["val/bits_per_dim"]] == ["2", "3"]


def test_a_run_whose_steps_end_with_an_epoch_is_drawn(tmp_path: Path) -> None:
    run(tmp_path / "run", "trainer.max_steps=4", "trainer.max_epochs=9", "test=false")
    assert [path.name for path in (tmp_path / "run/samples").iterdir()] == ["epoch=000.png"]


def test_a_run_that_ends_before_its_first_validation_says_so_and_is_opened_by_its_last_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run", "trainer.max_steps=3", "trainer.check_val_every_n_epoch=2")
    assert "trainer.check_val_every_n_epoch=2" in capsys.readouterr().err
    assert rows(tmp_path / "run")[-1]["test/bits_per_dim"]
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()
    assert isinstance(load_model(tmp_path / "run"), LitPixelCNNPP)


def test_the_configuration_is_kept_resolved_with_its_command_and_version(finished: Path) -> None:
    text = (finished / "config.yaml").read_text()
    assert text.startswith("# pixelcnn-lit")
    assert "\n# pixelcnn-lit 0." in text
    config = yaml.safe_load(text)
    assert config["model"]["network"]["num_filters"] == 8
    assert config["model"]["image_size"] == [8, 8]
    assert config["run_dir"] == str(finished)


def test_the_test_is_of_the_best_checkpoint_which_loads_by_itself(finished: Path) -> None:
    model = LitPixelCNNPP.load_from_checkpoint(finished / "checkpoints/best.ckpt")
    data = DigitsDataModule(batch_size=32)
    batches = [batch for batch, _ in zip(data.test_dataloader(), range(2), strict=False)]
    with torch.no_grad():
        nats = torch.cat([model.eval().log_prob(b["image"], b["label"]) for b in batches])
    expected = -nats.double().mean() / (64 * torch.tensor(2.0).log())
    assert float(rows(finished)[-1]["test/bits_per_dim"]) == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_the_samples_are_a_row_of_real_images_above_a_row_of_drawn_ones(finished: Path) -> None:
    with Image.open(finished / "samples/epoch=001.png") as picture:
        assert picture.size[0] >= 600
        assert picture.size[0] == 5 * picture.size[1]  # ten classes, two rows


def test_a_finished_folder_is_not_overwritten(finished: Path) -> None:
    with pytest.raises(OptionError, match=r"^run_dir=.*resume=auto continues it"):
        run(finished)


def test_no_folder_is_made_for_a_run_that_cannot_begin(tmp_path: Path) -> None:
    for mistake in ("model.network.num_hierarchies=9", "data.num_levels=9", "data.path=/nowhere"):
        with pytest.raises(OptionError, match=r"\S") as caught:
            run(tmp_path / "run", mistake)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()


def test_a_batch_smaller_than_the_number_of_processes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="batch_size=1 ") as caught:
        run(tmp_path / "run", "trainer=ddp_cpu", "data.batch_size=1")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_levels=4", r"model\.num_levels=4: the data have num_levels=17"),
        ("model.image_size=[4,4]", r"model\.image_size=\[4, 4\]: the data have"),
        ("model.optimizer.lr=-1", r"model\.optimizer: Invalid learning rate: -1"),
        ("model.scheduler.decay=2", r"model\.scheduler: decay=2: must lie in"),
        ("trainer.max_epochs=-5", r"trainer: .*max_epochs"),
        ("seed=-1", r"seed=-1: must be 0"),
        ("trainer.log_every_n_steps=0", r".*trainer\.log_every_n_steps=0: must be 1"),
        ("trainer.accumulate_grad_batches=0", r"trainer\.accumulate_grad_batches=0: must be 1"),
        ("trainer.gradient_clip_val=-1", r"trainer\.gradient_clip_val=-1.*: must be above 0"),
        ("trainer.gradient_clip_val=0", r"trainer\.gradient_clip_val=0.*: must be above 0"),
        ("callbacks.curve=false", r"callbacks\.curve=False: null leaves it out"),
        ("trainer.devices=-1", r"trainer: .*devices"),
        ("logger.wandb.finish_timeout=0", r"logger\.wandb\.finish_timeout=0"),
        ("callbacks.checkpoints.monitor=val/bpd", r".*monitor=val/bpd: validation measures val/b"),
        ("callbacks.checkpoints.folder=/x", r".*checkpoints\.folder=/x: a resumed run looks in"),
    ],
)
def test_parts_that_cannot_be_or_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(OptionError, match=f"^{message}") as error:
        run(tmp_path / "run", override)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["limit_val_batches=0.01", "val_check_interval=99"])
def test_what_lightning_refuses_when_it_has_seen_the_data_is_told_in_one_line(
    option: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=rf"^trainer: .*{option.split('=')[0]}") as error:
        run(tmp_path / "run", f"trainer.{option}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("limit", ["0", "0.01"])
def test_a_run_without_a_test_comes_to_its_summary(
    limit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["trainer.max_epochs=1", "callbacks.samples=null"]
    assert run(tmp_path / "run", *options, f"trainer.limit_test_batches={limit}")
    said = capsys.readouterr()
    assert "limit_test_batches" in said.err
    assert "pixelcnn-lit sample" in said.out


@pytest.mark.parametrize(
    ("channels", "size"), [(2, (4, 4)), (4, (4, 4)), (1, (5, 7)), (1, (17, 17)), (1, (30, 10))]
)
def test_any_number_of_colours_and_any_size_trains_and_is_drawn(
    tmp_path: Path, channels: int, size: tuple[int, int]
) -> None:
    kind = [f"data.image_size=[{size[0]},{size[1]}]", f"data.channels={channels}"]
    options = ["data=causal_field", "data.num_levels=4", "data.num_train=100", "test=false"]
    run(tmp_path / "run", *options, *kind, "trainer.max_epochs=1")
    assert (tmp_path / "run" / "samples" / "epoch=000.png").exists()


def test_training_in_double_precision_averages_in_double_precision(tmp_path: Path) -> None:
    options = ["trainer.precision=64-true", "callbacks.samples=null", "trainer.max_epochs=1"]
    run(tmp_path / "run", *options)
    checkpoint = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert {weight.dtype for weight in checkpoint["state_dict"].values()} == {torch.float64}


def test_an_unwritable_run_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=r"^run_dir=.*cannot be written"):
        run(tmp_path / "file" / "run")


def test_pictures_do_not_change_the_training(finished: Path, tmp_path: Path) -> None:
    run(tmp_path / "without", "callbacks.samples=null", "test=false")
    with_pictures = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)
    without = torch.load(tmp_path / "without/checkpoints/last.ckpt", weights_only=True)
    for name, weights in with_pictures["state_dict"].items():
        assert torch.equal(weights, without["state_dict"][name]), name


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("model", ["pixelcnn", "gated", "pp", "autoencoder"])
def test_every_variant_trains(model: str, precision: str, tmp_path: Path) -> None:
    size = [
        "model.network.num_filters=8",
        *([] if model == "pp" else ["model.network.num_layers=2"]),
    ]
    options = [f"model={model}", *size, "trainer.max_epochs=1", f"trainer.precision={precision}"]
    best = train_with([*OF_ANY_MODEL, "callbacks.curve=null"], tmp_path / "run", *options)
    assert best is not None
    assert math.isfinite(best)
    assert list((tmp_path / "run").rglob("epoch=000.png"))


def test_any_callback_of_lightnings_can_be_added(tmp_path: Path) -> None:
    early = ["monitor=val/bits_per_dim", "min_delta=9.0", "patience=1"]
    early += ["_target_=lightning.pytorch.callbacks.EarlyStopping"]
    added = [f"+callbacks.early.{option}" for option in early]
    run(tmp_path / "run", *added, "trainer.max_epochs=9", "callbacks.samples=null", "test=false")
    validated = [row["step"] for row in rows(tmp_path / "run") if row["val/bits_per_dim"]]
    assert validated == ["3", "7"]  # of 9 epochs


def raise_at(step: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant an error into the forward pass of the network after so many steps."""
    whole, steps = PixelCNNPP.forward, itertools.count()

    def broken(network: PixelCNNPP, *arguments: object) -> torch.Tensor:
        if network.training and next(steps) == step:
            raise error
        return whole(network, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PixelCNNPP, "forward", broken)


@pytest.mark.parametrize("step", [0, 2])
def test_a_bug_in_a_network_keeps_its_traceback(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_at(step, ValueError("of the wrong shape"), monkeypatch)
    with pytest.raises(ValueError, match=r"^of the wrong shape$") as caught:
        run(tmp_path / "run")
    assert not isinstance(caught.value, OptionError)
    assert caught.traceback[-1].name == "broken"


@pytest.mark.parametrize("error", [OptionError("data.path=x: is gone"), OSError("data.path=x")])
def test_data_that_can_no_longer_be_read_end_the_run_with_one_line_that_says_how_to_go_on(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raise_at(2, error, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "run")
    assert ended.value.code == 1
    [said] = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert "at step 2: data.path=x" in said
    assert "resume=auto" in said
