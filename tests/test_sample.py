"""What `pixelcnn-lit sample` draws and writes, and how it refuses."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import write_checkpoint

from pixelcnn_lit import configuration
from pixelcnn_lit.__main__ import main
from pixelcnn_lit.commands.sample import sample
from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.data.abstract import AbstractImageDataModule
from pixelcnn_lit.data.tables.decoding import ImageDecoder
from pixelcnn_lit.drawing.given_mask import read_given
from pixelcnn_lit.drawing.options import SampleOptions
from pixelcnn_lit.drawing.pictures import read_pictures, write_picture
from pixelcnn_lit.drawing.plans import Interpolate, Plain, label_numbers
from pixelcnn_lit.drawing.sheet import Sheet, appearing
from pixelcnn_lit.images import to_bytes
from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.models import (
    AbstractLitModel,
    LitConvAutoencoder,
    LitPixelCNN,
    LitPixelCNNAutoencoder,
    LitPixelCNNPP,
    load_model,
)
from pixelcnn_lit.networks.pixelcnn import PixelCNN

DIGITS = {"channels": 1, "num_levels": 17, "image_size": [8, 8]}
TINY = {"num_filters": 4, "num_layers": 1, "num_hidden": 4, "first_kernel_size": 3}


def save(model: torch.nn.Module, file: Path, names: list[str] | None = None) -> Path:
    if isinstance(model, AbstractLitModel):
        model.class_names = names
    return write_checkpoint(model, file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of several models."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    names = ["bee", "cactus", "sea turtle"]
    labelled = LitPixelCNN(**DIGITS, network=TINY, num_classes=3)
    torch.nn.init.normal_(labelled.network.output.conv.weight)
    save(labelled, folder / "labelled.ckpt", names)
    save(LitPixelCNN(**DIGITS, network=TINY, num_classes=3), folder / "nameless.ckpt")
    save(LitPixelCNN(**DIGITS, network=TINY), folder / "plain.ckpt")
    dropped = LitPixelCNN(**DIGITS, network=TINY, num_classes=3, label_dropout=0.1)
    torch.nn.init.normal_(dropped.network.output.conv.weight)
    save(dropped, folder / "dropped.ckpt")
    code = LitPixelCNNAutoencoder(**DIGITS, latent_dim=2, network={"name": "pixelcnn", **TINY})
    save(code, folder / "code.ckpt")
    save(LitConvAutoencoder(**DIGITS, latent_dim=2), folder / "squared.ckpt")
    return folder


@pytest.fixture
def drawn_folders(tmp_path: Path) -> Callable[[], list[Path]]:
    """The folders that ``draw`` has written, in the order of its calls."""
    return lambda: sorted(tmp_path.glob("drawn/*"))


@pytest.fixture
def draw(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Draws with the checkpoint of a name; returns the folder, each time a new one."""
    calls = count()

    def run(name: str, *overrides: str) -> Path:
        output = tmp_path / "drawn" / f"{next(calls):03d}"
        given = [f"checkpoint={folder / name}.ckpt", f"output={output}", "device=cpu", *overrides]
        config = compose_config("sample", given)
        configuration.check(config, SampleOptions)
        sample(config)
        return output

    return run


@pytest.fixture
def pictures(draw: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of pictures that a model drew, four of them."""
    drawn = draw("plain", "task.num_images=4", "seed=9", "individual=true")
    return (drawn / "images").rename(tmp_path / "pictures")


def refusal(draw: Callable[..., Path], *overrides: str) -> str:
    with pytest.raises(OptionError) as caught:
        draw(*overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def levels_of(output: Path) -> np.ndarray:
    return np.load(output / "samples.npy")


def tiles_of(output: Path, num_columns: int, width: int = 8) -> np.ndarray:
    """The tiles of a picture of digits, as levels (rows, columns, 8, width)."""
    with Image.open(output / "samples.png") as picture:
        factor = picture.width // (num_columns * (width + 4))
        grid = np.asarray(picture)[factor // 2 :: factor, factor // 2 :: factor, 0]
    tiles = grid.reshape(-1, 12, num_columns, width + 4).swapaxes(1, 2)[..., 2:-2, 2:-2]
    return (tiles * (16 / 255)).round().astype(np.uint8)


def test_a_seed_decides_the_levels_and_nothing_else_does(draw):
    asked = ["labelled", "task.num_images=5", "npy=true"]
    first, again = levels_of(draw(*asked)), levels_of(draw(*asked, "batch_size=2"))
    assert first.shape == (5, 1, 8, 8)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, levels_of(draw(*asked, "seed=1")))


def test_labels_by_name_and_by_number_are_the_same_and_are_dealt_in_turn(draw, folder):
    asked = ["labelled", "task.num_images=4", "npy=true"]
    by_name = levels_of(draw(*asked, "task.labels=[Sea turtle,bee]"))
    by_number = levels_of(draw(*asked, "task.labels=[2,0]"))
    model = load_model(folder / "labelled.ckpt")
    seeded = torch.Generator().manual_seed(0)
    expected = model.sample(4, torch.tensor([2, 0, 2, 0]), generator=seeded)
    assert np.array_equal(by_name, by_number)
    assert np.array_equal(by_name, expected.numpy())


def test_an_exact_name_comes_before_one_in_other_letters(folder):
    model = load_model(folder / "labelled.ckpt")
    model.class_names = ["A", "a", "b"]
    assert label_numbers(model, ["a", "A", "B"]) == [1, 0, 2]
    model.class_names = ["CAT", "Cat", "dog"]
    with pytest.raises(ValueError, match=r"'cat' is no class of .* did you mean CAT or Cat\?"):
        label_numbers(model, ["cat"])


def test_where_classes_are_called_by_numbers_a_number_is_the_name(folder):
    model = load_model(folder / "labelled.ckpt")
    model.class_names = ["0007", "3", "1"]
    assert label_numbers(model, [1, 7, "3"]) == [2, 0, 1]
    with pytest.raises(ValueError, match="labels: 0 is no class of this model; it has 0007, 3, 1"):
        label_numbers(model, [0])


def test_the_picture_the_array_and_the_single_pictures_show_the_same(draw):
    output = draw(
        "labelled", "task.num_images=6", "task.labels=bee", "individual=true", "npy=true"
    )  # fmt: skip
    levels = levels_of(output)
    assert np.array_equal(read_pictures(output / "images", (1, 8, 8), 17).numpy(), levels)
    assert np.array_equal(tiles_of(output, 3).reshape(levels.shape), levels)


def test_completions_keep_what_is_given_and_differ_in_the_rest(draw):
    output = draw(
        "nameless", "task=complete", "task.given=top:3", "task.num_images=2", "npy=true",
        "task.num_completions=2", "task.labels=1",
        "data=digits", "data.num_classes=3", "data.classes=[0,1,2]",
    )  # fmt: skip
    levels = levels_of(output).reshape(2, 2, 8, 8)
    assert np.array_equal(levels[:, 0, :3], levels[:, 1, :3])
    assert not np.array_equal(levels[:, 0], levels[:, 1])
    assert not np.array_equal(levels[0, 0, :3], levels[1, 0, :3])
    original, masked, *completions = tiles_of(output, 4).swapaxes(0, 1)
    assert np.array_equal(np.stack(completions, 1), levels)
    assert np.array_equal(masked[:, :3], original[:, :3])
    assert np.array_equal(levels[:, 0, :3], original[:, :3])


def digits(number: int) -> torch.Tensor:
    """The first test images."""
    config = compose_config("sample", ["checkpoint=x", "data=digits"])
    data = cast(AbstractImageDataModule, configuration.build(config, "data"))
    return data.first_examples("test", number)["image"]


def interrupt_after(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once so many batches are finished."""
    original, batches = AbstractLitModel.sample, count(1)

    def interrupted(self, *arguments, on_batch=None, **options):
        def keep(batch: torch.Tensor) -> None:
            on_batch(batch)
            if next(batches) == number:
                raise KeyboardInterrupt

        return original(self, *arguments, on_batch=keep, **options)

    monkeypatch.setattr(AbstractLitModel, "sample", interrupted)


def test_all_completions_are_one_request_with_the_images_of_several(draw, folder, pictures):
    output = draw("plain", "task=complete", "task.given=left:2", f"images={pictures}", "npy=true")
    levels = levels_of(output).reshape(4, 4, 1, 8, 8)
    model, originals = load_model(folder / "plain.ckpt"), read_pictures(pictures, (1, 8, 8), 17)
    seeded = torch.Generator().manual_seed(0)
    for completion in range(4):
        expected = model.sample(
            4, given=read_given("left:2", (8, 8)), images=originals, generator=seeded
        )
        assert np.array_equal(levels[:, completion], expected.numpy())


def test_ctrl_c_keeps_the_batches_that_are_finished(draw, drawn_folders, monkeypatch):
    asked = ["labelled", "task.num_images=6", "npy=true"]
    expected = levels_of(draw(*asked))
    interrupt_after(2, monkeypatch)
    with pytest.raises(SystemExit, match="130"):
        draw(*asked, "batch_size=2")
    assert np.array_equal(levels_of(drawn_folders()[-1]), expected[:4])


def test_ctrl_c_keeps_the_completions_that_are_finished_for_all_images(
    draw, drawn_folders, monkeypatch, pictures
):
    asked = ["plain", "task=complete", "task.given=left:2", f"images={pictures}", "npy=true"]
    whole = levels_of(draw(*asked)).reshape(4, 4, 1, 8, 8)
    interrupt_after(5, monkeypatch)
    with pytest.raises(SystemExit, match="130"):
        draw(*asked, "batch_size=2")
    kept = levels_of(drawn_folders()[-1]).reshape(4, 2, 1, 8, 8)
    assert np.array_equal(kept, whole[:, :2])


def test_where_nothing_is_finished_no_folder_is_left(draw, drawn_folders, monkeypatch):
    def interrupted(self: AbstractLitModel, number: int, *arguments: object, **options: object):
        if number:
            raise KeyboardInterrupt

    monkeypatch.setattr(AbstractLitModel, "sample", interrupted)
    with pytest.raises(SystemExit, match="130"):
        draw("plain")
    assert drawn_folders() == []


def test_without_guidance_the_condition_is_ignored(draw):
    drawn = [
        levels_of(draw("dropped", f"task.labels={label}", "guidance=0", "npy=true"))
        for label in (0, 2)
    ]
    assert np.array_equal(*drawn)


def test_pictures_of_a_folder_are_completed(draw, pictures):
    output = draw(
        "plain", "task=complete", "task.given=right:5", "task.num_completions=1",
        f"images={pictures}", "npy=true",
    )  # fmt: skip
    levels, originals = levels_of(output), read_pictures(pictures, (1, 8, 8), 17)
    assert np.array_equal(levels[..., 3:], originals[..., 3:].numpy())


def test_a_draw_from_the_code_of_an_image_stands_beside_the_image(draw, folder):
    output = draw("code", "task.num_images=3", "npy=true", "data=digits")
    model = load_model(folder / "code.ckpt")
    assert isinstance(model, LitPixelCNNAutoencoder)
    images = digits(3)
    expected = model.decode(model.encode(images), generator=torch.Generator().manual_seed(0))
    assert np.array_equal(levels_of(output), expected.numpy())
    pairs = tiles_of(output, 2, width=16).reshape(4, 8, 16)[:3]
    assert np.array_equal(pairs[..., :8], images[:, 0])
    assert np.array_equal(pairs[..., 8:], expected[:, 0])


def test_interpolation_begins_and_ends_with_its_classes_and_keeps_the_noise(draw, folder):
    output = draw(
        "labelled", "task=interpolate", "task.ends=[bee,cactus]", "task.steps=3",
        "task.num_images=2", "npy=true",
    )  # fmt: skip
    levels = levels_of(output).reshape(2, 3, 1, 8, 8)
    assert np.array_equal(tiles_of(output, 3), levels[:, :, 0])
    model = load_model(folder / "labelled.ckpt")
    for step, label in [(0, 0), (2, 1)]:
        seeded = torch.Generator().manual_seed(0)
        expected = model.sample(2, torch.full((2,), label), generator=seeded)
        assert np.array_equal(levels[:, step], expected.numpy())


def test_interpolation_between_the_codes_of_two_images_stands_between_the_images(draw, folder):
    output = draw(
        "code", "task=interpolate", "task.ends=[0,4]", "task.steps=2", "task.num_images=2",
        "data=digits", "npy=true",
    )  # fmt: skip
    levels, images = levels_of(output).reshape(2, 2, 8, 8), digits(5)[[0, 4], 0].numpy()
    first, *steps, second = tiles_of(output, 4).swapaxes(0, 1)
    assert np.array_equal(np.stack(steps, 1), levels)
    assert np.array_equal(np.stack([first, second], 1), np.stack([images, images]))


def test_embeddings_of_the_data_are_dealt_in_turn_and_mixed_where_they_are_vectors():
    model = LitPixelCNN(**DIGITS, network=TINY, embedding_dim=2)
    found = {"image": torch.zeros(2, 1, 8, 8), "embedding": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    rounds = Plain(num_images=3).rounds(model, lambda _: found)
    assert rounds.before == []
    [cond] = rounds.conds
    assert torch.equal(cond, found["embedding"][[0, 1, 0]])
    rounds = Interpolate([1, 0], num_images=1, steps=3).rounds(model, lambda _: found)
    assert torch.equal(torch.cat([*rounds.conds]), torch.tensor([[3.0, 4], [2, 3], [1, 2]]))
    found["embedding"] = found["embedding"][..., None, None].expand(-1, -1, 8, 8)
    with pytest.raises(OptionError, match=r"^task\.ends="):
        Interpolate([1, 0]).rounds(model, lambda _: found)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_ends_with_the_picture(draw, kind):
    output = draw("plain", "task.num_images=2", f"animation={kind}", "pixels_per_frame=16")
    with (
        Image.open(output / f"samples.{kind}") as frames,
        Image.open(output / "samples.png") as end,
    ):
        assert frames.n_frames == 1 + 64 // 16
        frames.seek(frames.n_frames - 1)
        difference = np.asarray(frames.convert("L"), float) - np.asarray(end.convert("L"), float)
    assert np.abs(difference).mean() < 8  # both formats round colours


def test_pixels_appear_in_raster_order_and_given_ones_are_there_first():
    tiles = torch.full((2, 1, 2, 3), 3, dtype=torch.uint8)
    given = torch.zeros(2, 3, dtype=torch.bool)
    given[1, 2] = True
    frames = appearing(Sheet(tiles, torch.tensor([False, True]), 2, 4, given), 2)
    visible = [(frame[..., 0] == 255)[2:4].tolist() for frame in frames]
    for number, (top, bottom) in zip((0, 2, 4, 6), visible, strict=True):
        shown = [*top[9:12], *bottom[9:12]]
        assert shown == [i < number or i == 5 for i in range(6)]
        assert top[2:5] == bottom[2:5] == [True] * 3


@pytest.mark.parametrize(
    ("words", "rows", "columns"),
    [
        ("top:2", slice(0, 2), slice(None)),
        ("bottom:1", slice(4, 5), slice(None)),
        ("left:3", slice(None), slice(0, 3)),
        ("right:2", slice(None), slice(5, 7)),
        ("box:1:2:3:4", slice(1, 4), slice(2, 6)),
    ],
)
def test_words_say_which_pixels_are_given(words: str, rows: slice, columns: slice):
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[rows, columns] = True
    assert torch.equal(read_given(words, (5, 7)), expected)


def test_files_say_which_pixels_are_given(tmp_path: Path):
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    np.save(tmp_path / "mask.npy", mask)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    for name in ("mask.npy", "mask.png"):
        assert np.array_equal(read_given(str(tmp_path / name), (5, 7)).numpy(), mask)
    with pytest.raises(ValueError, match=r"^task\.given=.*5x7"):
        read_given(str(tmp_path / "mask.npy"), (7, 5))


COMPLETE = ["task=complete", "task.given=top:2"]
INTERPOLATE = ["task=interpolate", "task.ends=[0,1]"]


@pytest.mark.parametrize(
    ("option", "overrides"),
    [
        ("task.labels", ["labelled", "task.labels=[bea]"]),
        ("task.labels", ["labelled", "task.labels=[3]"]),
        ("task.labels", ["labelled", "task.labels=[]"]),
        ("task.labels", ["nameless", "task.labels=[bee]"]),
        ("task.labels", ["plain", "task.labels=[1]"]),
        ("task.labels", ["labelled", "task=complete", "task.given=top:2", "task.labels=[bea]"]),
        ("task.labels", ["labelled", *INTERPOLATE, "task.labels=[0]"]),
        ("task.num_images", ["plain", "task.num_images=0"]),
        ("task.num_completions", ["plain", *COMPLETE, "task.num_completions=0"]),
        ("task.num_completions", ["plain", "task.num_completions=4"]),
        ("task.steps", ["labelled", *INTERPOLATE, "task.steps=1"]),
        ("task.steps", ["plain", "task.steps=8"]),
        ("task.given", ["plain", "task=complete"]),
        ("task.given", ["plain", "task.given=top:2"]),
        ("task.given", ["plain", "task=complete", "task.given=top"]),
        ("task.given", ["plain", "task=complete", "task.given=middle:3"]),
        ("task.given", ["plain", "task=complete", "task.given=top:8"]),
        ("task.given", ["plain", "task=complete", "task.given=left:9"]),
        ("task.given", ["plain", "task=complete", "task.given=nowhere.npy"]),
        ("task.given", ["plain", "task=complete", "task.given=nowhere.png"]),
        ("task.ends", ["plain", *INTERPOLATE]),
        ("task.ends", ["labelled", "task=interpolate"]),
        ("task.ends", ["labelled", "task=interpolate", "task.ends=[bea,0]"]),
        ("task.ends", ["labelled", "task=interpolate", "task.ends=[0]"]),
        ("task.ends", ["code", "task=interpolate", "task.ends=[0,999]", "data=digits"]),
        ("task.ends", ["code", "task=interpolate", "task.ends=[bee,0]", "data=digits"]),
        ("task", ["plain", "task=draw"]),
        ("temperature", ["plain", "temperature=0"]),
        ("temperature", ["plain", "temperature=warm"]),
        ("guidance", ["plain", "guidance=2"]),
        ("guidance", ["labelled", "guidance=2"]),
        ("guidance", ["dropped", "guidance=-1"]),
        ("seed", ["plain", "seed=-1"]),
        ("batch_size", ["plain", "batch_size=0"]),
        ("animation", ["plain", "animation=mp4"]),
        ("pixels_per_frame", ["plain", "animation=gif", "pixels_per_frame=0"]),
        ("pixels_per_frame", ["plain", "pixels_per_frame=1"]),
        ("checkpoint", ["squared"]),
        ("checkpoint", ["missing"]),
        ("output", ["plain", "output=/dev/null/x"]),
        ("images", ["plain", *COMPLETE, "images=nowhere"]),
        ("images", ["plain", "images=nowhere"]),
        ("split", ["labelled", *INTERPOLATE, "split=test"]),
        ("split", ["code", "images=x", "split=val"]),
        ("split", ["code", "data=digits", "split=all"]),
        ("data", ["plain", *COMPLETE]),
        ("data", ["labelled", "data=digits"]),
        ("data", ["code", "images=x", "data=digits"]),
        ("data.num_levels", ["plain", *COMPLETE, "data=mnist"]),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_that_names_the_option(
    draw, option: str, overrides: list[str]
):
    assert re.match(rf"{re.escape(option)}[=:]", refusal(draw, *overrides))


def test_labels_of_pictures_that_have_none_must_be_given(draw, pictures):
    asked = [*COMPLETE, f"images={pictures}", "task.num_completions=1"]
    assert refusal(draw, "labelled", *asked).startswith("task.labels:")
    draw("dropped", *asked)  # knows images without a label
    assert refusal(draw, "dropped", *asked, "guidance=2").startswith("guidance=2")


@pytest.mark.parametrize(
    "option", ["given=top:2", "interpolate=[0,1]", "num_images=4", "labels=[1]", "steps=3"]
)
def test_an_option_that_belongs_to_a_task_now_is_refused_in_one_line(draw, option: str):
    assert option in refusal(draw, "labelled", option)


@pytest.mark.parametrize("num_levels", [*range(2, 28), 32, 64, 128, 256])
def test_pictures_are_read_as_training_reads_them_and_as_they_were_written(
    tmp_path: Path, num_levels: int
):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "0.png")
    read = read_pictures(tmp_path, (1, 16, 16), num_levels)[0, 0].numpy()
    decoder = ImageDecoder(1, num_levels, (16, 16), quantize=True)
    trained_on = decoder(
        {"bytes": (tmp_path / "0.png").read_bytes(), "path": None}, lambda: "the ramp"
    )
    assert np.array_equal(read, trained_on[0])
    shares = np.ceil(np.arange(num_levels + 1) * (256 / num_levels))
    assert np.array_equal(np.bincount(read.ravel()), np.diff(shares))
    levels = torch.arange(num_levels)
    write_picture(
        tmp_path / "0.png", to_bytes(levels, num_levels).expand(3, 1, -1).movedim(0, -1), 1
    )
    assert torch.equal(
        read_pictures(tmp_path, (1, 1, num_levels), num_levels).flatten(), levels.byte()
    )


def test_pictures_of_more_than_a_byte_are_refused(draw, tmp_path):
    file = tmp_path / "deep" / "1.png"
    file.parent.mkdir()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(file)
    message = refusal(draw, "plain", *COMPLETE, f"images={file.parent}")
    assert message.startswith(f"images: {file}")
    message = refusal(draw, "plain", "task=complete", f"task.given={file}", "data=digits")
    assert message.startswith(f"task.given: {file}")


def test_a_folder_that_takes_no_files_is_refused_before_anything_is_drawn(draw, monkeypatch):
    monkeypatch.setattr("pixelcnn_lit.commands.sample.draw", None)  # drawing would fail
    assert refusal(draw, "plain", "output=/proc/self").startswith("output=/proc/self: ")


def test_a_folder_that_holds_something_is_refused_and_left_alone(draw, tmp_path):
    mine = tmp_path / "mine" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert refusal(draw, "plain", f"output={mine.parent}").startswith(f"output={mine.parent}: ")
    assert list(mine.parent.iterdir()) == [mine]
    assert draw("plain", f"output={tmp_path / 'new' / 'folder'}")


@pytest.mark.parametrize("checkpoint", ["run", "run/checkpoints/best.ckpt", "loose/plain.ckpt"])
def test_every_call_draws_into_a_new_folder_of_the_run_or_beside_the_checkpoint(
    folder, tmp_path, capsys, checkpoint: str
):
    for name in ("run/checkpoints/best.ckpt", "loose/plain.ckpt"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(folder / "plain.ckpt", tmp_path / name)
    (tmp_path / "run" / "config.yaml").touch()
    asked = [f"checkpoint={tmp_path / checkpoint}", "task.num_images=1", "device=cpu"]
    for _ in range(2):
        sample(compose_config("sample", asked))
    drawn = sorted((tmp_path / checkpoint.split("/")[0] / "samples").glob("*/samples.png"))
    assert len(drawn) == 2
    assert [line for line in capsys.readouterr().out.splitlines() if "/" in line] == [
        *map(str, drawn)
    ]


def test_levels_and_pictures_are_kept_when_the_disk_is_full_later(draw, drawn_folders, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pixelcnn_lit.drawing.sheet.write_animation", full)
    asked = ["task.num_images=2", "npy=true", "individual=true", "animation=gif"]
    message = refusal(draw, "plain", *asked)
    [output] = drawn_folders()
    assert message.startswith(f"output={output}: ")
    single = read_pictures(output / "images", (1, 8, 8), 17)
    assert np.array_equal(single.numpy(), levels_of(output))


def test_a_fault_of_the_network_is_no_mistake_of_the_user(draw, monkeypatch):
    def faulty(self: PixelCNN, *arguments: object, **options: object) -> None:
        raise ValueError("planted")

    monkeypatch.setattr(PixelCNN, "horizontal", faulty)
    with pytest.raises(ValueError, match="planted") as caught:
        draw("plain")
    assert not isinstance(caught.value, OptionError)


def test_a_damaged_checkpoint_is_refused_in_one_line(draw, folder: Path):
    content = bytearray((folder / "plain.ckpt").read_bytes())
    (folder / "short.ckpt").write_bytes(content[: len(content) // 2])
    weight = load_model(folder / "plain.ckpt").network.input.weight
    content[content.index(weight.detach().numpy().tobytes())] ^= 1
    (folder / "flipped.ckpt").write_bytes(content)
    (folder / "text.ckpt").write_text("not a checkpoint")
    for name in ("short", "flipped", "text"):
        assert "damaged, or no checkpoint at all" in refusal(draw, name)


def test_every_model_is_found_again_by_its_checkpoint(folder: Path, tmp_path: Path):
    pp = LitPixelCNNPP(**DIGITS, network={"num_filters": 4, "num_resnet": 1, "num_hierarchies": 2})
    save(pp, tmp_path / "pp.ckpt")
    found = load_model(tmp_path / "pp.ckpt")
    assert type(found) is LitPixelCNNPP
    assert not found.training
    for name, weight in pp.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight)
    assert load_model(folder / "labelled.ckpt").class_names == ["bee", "cactus", "sea turtle"]


def test_a_mistake_on_the_command_line_is_one_line_and_status_2(folder, monkeypatch, capsys):
    asked = ["sample", f"checkpoint={folder / 'plain.ckpt'}", "temperature=-1"]
    monkeypatch.setattr("sys.argv", ["pixelcnn-lit", *asked])
    with pytest.raises(SystemExit, match="2"):
        main()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch("error: temperature=-1: .*\n", printed.err)
