"""What `python -m pixelcnn_lit sample` draws and writes, and how it refuses."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import forkserver
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import write_checkpoint

from pixelcnn_lit import configuration
from pixelcnn_lit.commands.sample import SampleOptions, sample
from pixelcnn_lit.configuration import compose_config
from pixelcnn_lit.data.tables.decoding import ImageDecoder
from pixelcnn_lit.drawing.given_mask import read_given
from pixelcnn_lit.drawing.pictures import appearing, read_pictures, write_picture
from pixelcnn_lit.drawing.plans import label_numbers
from pixelcnn_lit.images import to_bytes
from pixelcnn_lit.models import (
    AbstractLitModel,
    LitConvAutoencoder,
    LitPixelCNN,
    LitPixelCNNAutoencoder,
    LitPixelCNNPP,
    load_model,
)

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
    labelled = LitPixelCNN(**DIGITS, **TINY, num_classes=3)
    torch.nn.init.normal_(labelled.network.output.conv.weight)
    save(labelled, folder / "labelled.ckpt", names)
    save(LitPixelCNN(**DIGITS, **TINY, num_classes=3), folder / "nameless.ckpt")
    save(LitPixelCNN(**DIGITS, **TINY), folder / "plain.ckpt")
    code = LitPixelCNNAutoencoder(**DIGITS, decoder="pixelcnn", latent_dim=2, **TINY)
    save(code, folder / "code.ckpt")
    save(LitConvAutoencoder(**DIGITS, latent_dim=2), folder / "squared.ckpt")
    return folder


@pytest.fixture
def draw(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Draws with the checkpoint of a name; returns the folder it was told to write to."""

    def run(name: str, *overrides: str) -> Path:
        output = tmp_path / "drawn"
        given = [f"checkpoint={folder / name}.ckpt", f"output={output}", "device=cpu", *overrides]
        config = compose_config("sample", given)
        configuration.check(config, SampleOptions)
        sample(config)
        return output

    return run


@pytest.fixture
def pictures(draw: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of pictures that a model drew, four of them."""
    drawn = draw("plain", "num_images=4", "seed=9", "individual=true")
    return (drawn / "images").rename(tmp_path / "pictures")


def refusal(draw: Callable[..., Path], *overrides: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        draw(*overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_seed_decides_the_levels_and_nothing_else_does(draw):
    first = np.load(draw("labelled", "num_images=5", "npy=true") / "samples.npy")
    again = np.load(draw("labelled", "num_images=5", "npy=true", "batch_size=2") / "samples.npy")
    other = np.load(draw("labelled", "num_images=5", "npy=true", "seed=1") / "samples.npy")
    assert first.shape == (5, 1, 8, 8)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_labels_by_name_and_by_number_are_the_same_and_are_dealt_in_turn(draw, folder):
    by_name = draw("labelled", "labels=[Sea turtle,bee]", "num_images=4", "npy=true")
    by_name = np.load(by_name / "samples.npy")
    by_number = np.load(
        draw("labelled", "labels=[2,0]", "num_images=4", "npy=true") / "samples.npy"
    )
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
    output = draw("labelled", "num_images=6", "individual=true", "npy=true", "labels=bee", "seed=3")
    levels = np.load(output / "samples.npy")
    read = read_pictures(output / "images", (1, 8, 8), 17)
    assert np.array_equal(read.numpy(), levels)
    with Image.open(output / "samples.png") as picture:
        factor = picture.width // (3 * (8 + 4))
        grid = np.asarray(picture)[factor // 2 :: factor, factor // 2 :: factor, 0]
    assert grid.shape == (2 * 12, 3 * 12)
    tile = grid[12 + 2 : 24 - 2, 24 + 2 : 36 - 2]  # the last of the second row
    assert np.array_equal((tile * (16 / 255)).round(), levels[5, 0])


def test_completions_keep_what_is_given_and_differ_in_the_rest(draw):
    output = draw(
        "nameless", "given=top:3", "num_images=2", "num_completions=2", "npy=true", "labels=1",
        "data=digits", "data.num_classes=3", "data.classes=[0,1,2]",
    )  # fmt: skip
    levels = np.load(output / "samples.npy").reshape(2, 2, 1, 8, 8)
    assert np.array_equal(levels[:, 0, :, :3], levels[:, 1, :, :3])
    assert not np.array_equal(levels[:, 0], levels[:, 1])
    assert not np.array_equal(levels[0, 0, :, :3], levels[1, 0, :, :3])
    with Image.open(output / "samples.png") as picture:
        assert picture.width / picture.height == 4 / 2  # original | masked | two completions


def interrupt_after(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once so many batches are finished."""
    original, batches = AbstractLitModel.sample, count(1)

    def interrupted(self, *arguments, on_batch, **options):
        def keep(batch: torch.Tensor) -> None:
            on_batch(batch)
            if next(batches) == number:
                raise KeyboardInterrupt

        return original(self, *arguments, on_batch=keep, **options)

    monkeypatch.setattr(AbstractLitModel, "sample", interrupted)


def test_all_completions_are_one_request_with_the_images_of_several(draw, folder, pictures):
    output = draw("plain", f"images={pictures}", "given=left:2", "npy=true")
    levels = np.load(output / "samples.npy").reshape(4, 4, 1, 8, 8)
    model, originals = load_model(folder / "plain.ckpt"), read_pictures(pictures, (1, 8, 8), 17)
    seeded = torch.Generator().manual_seed(0)
    for completion in range(4):
        expected = model.sample(
            4, given=read_given("left:2", (8, 8)), images=originals, generator=seeded
        )
        assert np.array_equal(levels[:, completion], expected.numpy())


def test_ctrl_c_keeps_the_completions_that_are_finished_for_all_images(draw, monkeypatch, pictures):
    asked = ["plain", f"images={pictures}", "given=left:2", "num_completions=4", "npy=true"]
    whole = np.load(draw(*asked) / "samples.npy").reshape(4, 4, 1, 8, 8)
    interrupt_after(5, monkeypatch)
    with pytest.raises(SystemExit, match="130"):
        draw(*asked, "batch_size=2")
    kept = np.load(pictures.parent / "drawn" / "samples.npy").reshape(4, 2, 1, 8, 8)
    assert np.array_equal(kept, whole[:, :2])


def test_without_guidance_the_condition_is_ignored(draw, folder):
    model = LitPixelCNN(**DIGITS, **TINY, num_classes=3, label_dropout=0.1)
    torch.nn.init.normal_(model.network.output.conv.weight)
    save(model, folder / "dropped.ckpt")
    drawn = [
        np.load(draw("dropped", f"labels={label}", "guidance=0", "npy=true") / "samples.npy")
        for label in (0, 2)
    ]
    assert np.array_equal(*drawn)


def test_pictures_of_a_folder_are_completed(draw, pictures):
    output = draw("plain", f"images={pictures}", "given=right:5", "num_completions=1", "npy=true")
    levels, originals = np.load(output / "samples.npy"), read_pictures(pictures, (1, 8, 8), 17)
    assert np.array_equal(levels[..., 3:], originals[..., 3:].numpy())


def test_codes_are_of_the_data_s_images(draw, folder):
    levels = np.load(draw("code", "num_images=2", "npy=true", "data=digits") / "samples.npy")
    data = configuration.build(compose_config("sample", ["checkpoint=x", "data=digits"]), "data")
    images = next(iter(data.test_dataloader()))["image"][:2]
    model = load_model(folder / "code.ckpt")
    assert isinstance(model, LitPixelCNNAutoencoder)
    expected = model.decode(model.encode(images), generator=torch.Generator().manual_seed(0))
    assert np.array_equal(levels, expected.numpy())


def test_interpolation_begins_and_ends_with_its_classes_and_keeps_the_noise(draw, folder):
    output = draw("labelled", "interpolate=[bee,cactus]", "steps=3", "num_images=2", "npy=true")
    levels = np.load(output / "samples.npy").reshape(2, 3, 1, 8, 8)
    model = load_model(folder / "labelled.ckpt")
    for step, label in [(0, 0), (2, 1)]:
        seeded = torch.Generator().manual_seed(0)
        expected = model.sample(2, torch.full((2,), label), generator=seeded)
        assert np.array_equal(levels[:, step], expected.numpy())


def test_interpolation_between_the_codes_of_two_images(draw):
    output = draw("code", "interpolate=[0,4]", "steps=2", "num_images=1", "data=digits", "npy=true")
    assert np.load(output / "samples.npy").shape == (2, 1, 8, 8)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_ends_with_the_picture(draw, kind):
    output = draw("plain", "num_images=2", f"animation={kind}", "pixels_per_frame=16")
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
    frames = appearing(
        tiles, torch.tensor([False, True]), given, 4, num_columns=2, pixels_per_frame=2
    )
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
    with pytest.raises(ValueError, match=r"shape \(5, 7\), the images are 7x5"):
        read_given(str(tmp_path / "mask.npy"), (7, 5))


def test_ctrl_c_keeps_the_batches_that_are_finished(draw, monkeypatch, tmp_path):
    expected = np.load(draw("labelled", "num_images=6", "npy=true") / "samples.npy")
    interrupt_after(2, monkeypatch)
    with pytest.raises(SystemExit, match="130"):
        draw("labelled", "num_images=6", "npy=true", "batch_size=2")
    kept = np.load(tmp_path / "drawn" / "samples.npy")
    assert np.array_equal(kept, expected[:4])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["labelled", "labels=[bea]"], "labels: 'bea' is no class of this model; did you"),
        (["labelled", "labels=[3]"], "labels: 3 is no class number; allowed are 0 … 2"),
        (["nameless", "labels=[bee]"], "labels: 'bee' is a name, but this model has numbers"),
        (["plain", "labels=[1]"], r"labels=\[1\]: this model was trained without labels"),
        (["plain", "temperature=0"], "temperature=0: above 0"),
        (["plain", "temperature=warm"], "temperature=warm: must be a number"),
        (["plain", "num_images=0"], "num_images=0: at least 1"),
        (["plain", "steps=1"], "steps=1: at least 2"),
        (["plain", "guidance=2"], "guidance=2"),
        (["plain", "guidance=-1"], "guidance=-1: at least 0"),
        (["plain", "given=top"], "given=top: allowed are top:N, bottom:N"),
        (["plain", "given=middle:3"], "given=middle:3: allowed are top:N"),
        (["plain", "given=top:8"], "given=top:8: keeps every pixel, nothing is left to draw"),
        (["plain", "given=left:9"], "given=left:9: reaches beyond images of 8x8"),
        (["plain", "given=nowhere.npy"], "given=nowhere.npy: not a readable mask"),
        (["plain", "given=top:2", "images=nowhere"], "images=nowhere: no folder with pictures"),
        (["plain", "given=top:2"], "data: must be given, as checkpoint="),
        (["plain", "given=top:2", "data=mnist"], "data.num_levels=256: the model was trained"),
        (["plain", "interpolate=[0,1]"], "this model is unconditional"),
        (["labelled", "interpolate=[bea,0]"], "interpolate: 'bea' is no class of this model"),
        (["labelled", "interpolate=[0]"], "two classes, or the numbers of two images"),
        (["code", "interpolate=[0,999]", "data=digits"], "there are only 180 images"),
        (["labelled", "given=top:2", "interpolate=[0,1]"], "not together with given"),
        (["squared"], "holds LitConvAutoencoder; allowed are LitPixelCNN,"),
        (["missing"], "missing.ckpt: there is no such file"),
        (["plain", "animation=mp4"], "animation=mp4: must be gif or webp or null"),
        (["plain", "output=/dev/null/x"], "output=/dev/null/x: cannot be written"),
        (["plain", "num_completions=4"], "num_completions=4: only read together with given"),
        (["plain", "steps=8"], "steps=8: only read together with interpolate"),
        (["plain", "pixels_per_frame=1"], "pixels_per_frame=1: only read together with animation"),
        (["plain", "images=nowhere"], "images=nowhere: not read, as what is drawn needs no"),
        (["labelled", "interpolate=[0,1]", "split=test"], "split=test: not read, as what is"),
        (["labelled", "data=digits"], "data: not read, as what is drawn needs no"),
        (["code", "images=x", "split=val"], "split=val: not together with images=x, which"),
        (["code", "images=x", "data=digits"], "data: not together with images=x, which is read"),
        (["code", "images=a/images", "output=a"], "output=a: images=a/images lies there"),
        (["code", "data=digits", "split=all"], "split=all: must be train or val or test or null"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_one_line(draw, overrides: list[str], reason: str):
    message = refusal(draw, *overrides)
    assert re.search(reason, message), message


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
    (tmp_path / "deep").mkdir()
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(deep).save(tmp_path / "deep" / "1.png")
    asked = ["plain", "given=top:2", f"images={tmp_path / 'deep'}"]
    assert re.search(r"1\.png has pixels of mode I;16, not bytes", refusal(draw, *asked))
    asked = ["plain", f"given={tmp_path / 'deep' / '1.png'}", "data=digits"]
    assert "1.png has pixels of mode I;16, not bytes)" in refusal(draw, *asked)


def test_a_folder_that_takes_no_files_is_refused_before_anything_is_drawn(draw, monkeypatch):
    monkeypatch.setattr(AbstractLitModel, "sample", None)  # drawing would fail
    assert refusal(draw, "plain", "output=/proc/self").startswith(
        "output=/proc/self: cannot be written ("
    )


def test_levels_and_pictures_are_kept_when_the_disk_is_full_later(draw, monkeypatch, tmp_path):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pixelcnn_lit.commands.sample.write_animation", full)
    asked = ["num_images=2", "npy=true", "individual=true", "animation=gif"]
    assert refusal(draw, "plain", *asked) == (
        f"output={tmp_path / 'drawn'}: cannot be written (No space left on device)"
    )
    levels = np.load(tmp_path / "drawn" / "samples.npy")
    single = read_pictures(tmp_path / "drawn" / "images", (1, 8, 8), 17)
    assert np.array_equal(single.numpy(), levels)


def test_a_folder_drawn_into_again_holds_nothing_of_the_earlier_time_but_what_is_not_its_own(draw):
    all_kinds = ["npy=true", "individual=true", "animation=gif"]
    output = draw("plain", "num_images=3", *all_kinds)
    own = ["mine.png", "samples.webp", "images/1.png", "images/00001.txt", "images/00007.png"]
    for name in own:
        (output / name).touch()
    draw("plain", "num_images=2", "individual=true")
    found = {str(file.relative_to(output)) for file in output.rglob("[!.]*.*")}
    assert found == {"samples.png", "images/00000.png", "images/00001.png", *own}


@pytest.mark.parametrize("name", ["images/00001.png", "samples.npy"])
def test_files_that_were_not_drawn_are_neither_removed_nor_written_over(draw, tmp_path, name: str):
    mine = tmp_path / "drawn" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    asked = ["num_images=2", "individual=true", "npy=true"]
    assert f"{name} is there and not in .drawn" in refusal(draw, "plain", *asked)
    draw("plain", "num_images=2")
    assert mine.read_text() == "mine"


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
    pp = LitPixelCNNPP(**DIGITS, num_filters=4, num_resnet=1, num_hierarchies=2)
    save(pp, tmp_path / "pp.ckpt")
    found = load_model(tmp_path / "pp.ckpt")
    assert type(found) is LitPixelCNNPP
    assert not found.training
    for name, weight in pp.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight)
    assert load_model(folder / "labelled.ckpt").class_names == ["bee", "cactus", "sea turtle"]


def test_a_mistake_on_the_command_line_is_one_line_and_status_2(folder: Path):
    command = ["-m", "pixelcnn_lit", "sample", f"checkpoint={folder / 'plain.ckpt'}"]
    ended = forkserver.run(*command, "temperature=-1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: temperature=-1: above 0, and finite\n"
