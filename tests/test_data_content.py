"""What comes out is what lies in the files: selection, labels, conversions, and every refusal."""

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from picture_files import numbered_picture, numbers, png, write_numbered, write_parquet
from PIL import Image

from pixelcnn_lit.data import ColoredMNISTDataModule, DigitsDataModule, HFImageDataModule
from pixelcnn_lit.messages import OptionError

CONF = Path(__file__).parents[1] / "conf"
MODES = {
    "in memory": {"streaming": False},
    "streaming": {"streaming": True},
    "decoding in every epoch": {"streaming": False, "in_memory": False},
}


@pytest.fixture(params=MODES)
def mode(request):
    return MODES[request.param]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """50 training and 20 test rows."""
    folder = tmp_path_factory.mktemp("numbered")
    write_numbered(folder, 50, 2)
    return write_numbered(folder, 20, split="test")


def module(path, tmp_path, **options):
    facts = {"channels": 1, "num_levels": 256, "image_size": [4, 4], "num_workers": 0}
    return HFImageDataModule(str(path), cache_dir=str(tmp_path / "cache"), **{**facts, **options})


def everything(loader):
    batches = list(loader)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def test_pixels_and_labels_are_those_of_the_file(numbered, tmp_path, mode):
    data = module(numbered, tmp_path, **mode)
    test = everything(data.test_dataloader())
    expected = np.stack([pixels_of(numbered_picture(row)) for row in range(20)])
    assert test["image"].dtype == torch.uint8
    assert test["label"].dtype == torch.int64
    assert torch.equal(test["image"][:, 0], torch.from_numpy(expected))
    assert test["label"].tolist() == [row % 5 for row in range(20)]
    assert data.class_names == ["apple", "banana", "cherry", "date", "elderberry"]


def pixels_of(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_classes_are_chosen_by_name_or_number_and_renumbered(numbered, tmp_path, mode):
    for classes in (["date", "banana"], [3, 1], ["date", 1]):
        data = module(numbered, tmp_path, classes=classes, num_classes=2, **mode)
        test = everything(data.test_dataloader())
        assert numbers(test) == [row for row in range(20) if row % 5 in (1, 3)]
        assert test["label"].tolist() == [{3: 0, 1: 1}[row % 5] for row in numbers(test)]
        assert data.class_names == ["date", "banana"]


def test_rejected_classes_are_never_decoded(tmp_path, mode):
    pictures = [numbered_picture(n) if n % 5 == 2 else b"not a picture" for n in range(50)]
    write_parquet(tmp_path / "data" / "test.parquet", pictures, [n % 5 for n in range(50)])
    data = module(tmp_path / "data", tmp_path, classes=["cherry"], **mode)
    assert numbers(everything(data.test_dataloader())) == list(range(2, 50, 5))


def test_max_examples_counts_rows_before_classes(numbered, tmp_path, mode):
    data = module(
        numbered,
        tmp_path,
        max_examples=23,
        classes=["apple"],
        val_fraction=0,
        batch_size=5,
        **mode,
    )
    assert sorted(numbers(everything(data.train_dataloader()))) == [0, 5, 10, 15, 20]


def test_validation_rows_are_carved_out_the_same_way_in_every_run(numbered, tmp_path, mode):
    def split(seed):
        data = module(numbered, tmp_path, val_fraction=0.3, seed=seed, batch_size=1, **mode)
        loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
        return [sorted(numbers(everything(loader))) for loader in loaders]

    train, val, test = split(0)
    assert sorted(train + val) == list(range(50))
    assert 8 <= len(val) <= 22
    assert test == list(range(20))
    assert split(1) == [train, val, test]


def test_test_rows_are_carved_out_where_there_are_none(tmp_path, mode):
    folder = write_numbered(tmp_path / "data", 60)
    data = module(folder, tmp_path, val_fraction=0.2, test_fraction=0.2, batch_size=1, **mode)
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    parts = [set(numbers(everything(loader))) for loader in loaders]
    assert set.union(*parts) == set(range(60))
    assert sum(map(len, parts)) == 60
    assert min(map(len, parts)) >= 4


def test_no_split_no_loader(tmp_path):
    folder = write_numbered(tmp_path / "data", 20)
    data = module(folder, tmp_path, val_fraction=0.0)
    assert data.val_dataloader() == []
    assert data.test_dataloader() == []


def test_splits_may_have_other_names(tmp_path):
    folder = write_numbered(tmp_path / "data", 20)
    write_numbered(tmp_path / "data", 10, split="valid")
    data = module(folder, tmp_path)
    assert len(everything(data.val_dataloader())["image"]) == 10
    with pytest.raises(ValueError, match=r"^splits\.test=nope does not exist.*train"):
        module(folder, tmp_path, splits={"test": "nope"}).setup("test")


def test_embeddings_come_with_their_rows(tmp_path, mode):
    vectors = [[float(n), -float(n), 0.5] for n in range(20)]
    pictures = [numbered_picture(n) for n in range(20)]
    write_parquet(tmp_path / "data" / "train.parquet", pictures, embeddings=vectors)
    data = module(
        tmp_path / "data", tmp_path, embedding_key="embedding", embedding_dim=3, val_fraction=0,
        batch_size=4, **mode,
    )  # fmt: skip
    batch = everything(data.train_dataloader())
    assert batch["embedding"].dtype == torch.float32
    assert batch["embedding"].tolist() == [vectors[row] for row in numbers(batch)]
    assert "label" not in batch
    wrong = module(tmp_path / "data", tmp_path, embedding_key="embedding", embedding_dim=4, **mode)
    with pytest.raises(ValueError, match=r"^embedding_dim=4 does not fit"):
        wrong.setup("fit")


def test_embedding_maps_keep_their_shape(tmp_path):
    features = datasets.Features(
        {"image": datasets.Image(), "map": datasets.Array3D((2, 4, 4), "float32")}
    )
    maps = np.random.default_rng(0).normal(size=(12, 2, 4, 4)).astype(np.float32)
    rows = {
        "image": [{"bytes": numbered_picture(n), "path": None} for n in range(12)],
        "map": list(maps),
    }
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
    data = module(
        tmp_path / "train.parquet", tmp_path, embedding_key="map", embedding_dim=2, val_fraction=0
    )
    batch = everything(data.train_dataloader())
    assert np.array_equal(batch["embedding"].numpy(), maps[numbers(batch)])


def test_a_missing_embedding_is_told_with_its_row(tmp_path, mode):
    pictures = [numbered_picture(n) for n in range(20)]
    for name, broken in {"whole": None, "part": [0.5, None]}.items():
        vectors = [[1.0, 2.0] for _ in range(20)]
        vectors[13] = broken
        folder = tmp_path / name
        write_parquet(folder / "train.parquet", pictures, embeddings=vectors, rows_per_group=20)
        options = {"embedding_key": "embedding", "embedding_dim": 2, "val_fraction": 0}
        with pytest.raises(ValueError, match=r"embedding_key=embedding: .* row 13 lacks values"):
            everything(module(folder, tmp_path, **options, **mode).train_dataloader())


@pytest.mark.parametrize("labels", [["cat", "dog"], [0.9, 1.9]])
def test_labels_that_are_no_whole_numbers_are_refused(tmp_path, labels):
    rows = {"image": [numbered_picture(n) for n in range(20)], "kind": 10 * labels}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    data = module(tmp_path / "train.parquet", tmp_path, label_key="kind")
    with pytest.raises(ValueError, match=r"^label_key=kind is a column of \w+; labels are whole"):
        data.setup("fit")


def test_numbers_without_names_may_be_any(tmp_path):
    rows = {"image": [numbered_picture(n) for n in range(20)], "label": 10 * [-1, 1]}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    options = {"classes": [1, -1], "val_fraction": 0, "batch_size": 5}
    batch = everything(module(tmp_path / "train.parquet", tmp_path, **options).train_dataloader())
    assert batch["label"].tolist() == [(row + 1) % 2 for row in numbers(batch)]


def test_true_and_false_are_labels(tmp_path):
    rows = {"image": [numbered_picture(n) for n in range(20)], "known": 10 * [True, False]}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    options = {"label_key": "known", "num_classes": 2, "val_fraction": 0, "batch_size": 5}
    batch = everything(module(tmp_path / "train.parquet", tmp_path, **options).train_dataloader())
    assert batch["label"].tolist() == [(row + 1) % 2 for row in numbers(batch)]


def test_files_without_a_description_are_read_too(tmp_path):
    pictures = [numbered_picture(n) for n in range(20)]
    file = tmp_path / "train.parquet"
    write_parquet(file, pictures, [n % 3 for n in range(20)], described=False)
    data = module(file, tmp_path, val_fraction=0, batch_size=5, num_classes=3)
    batch = everything(data.train_dataloader())
    assert batch["label"].tolist() == [row % 3 for row in numbers(batch)]
    assert data.class_names is None
    wrong = module(file, tmp_path, val_fraction=0, num_classes=2)
    with pytest.raises(ValueError, match=r"^num_classes=2, but .* row 2 has label 2; allowed"):
        wrong.setup("fit")


def test_the_picture_column_is_found_by_its_type(tmp_path):
    pictures = [numbered_picture(n) for n in range(5)]
    write_parquet(tmp_path / "train.parquet", pictures, image_key="img")
    data = module(tmp_path / "train.parquet", tmp_path, val_fraction=0, batch_size=5)
    assert sorted(numbers(everything(data.train_dataloader()))) == list(range(5))


@pytest.mark.parametrize("streaming", [False, True])
def test_folders_of_pictures_are_read(tmp_path, monkeypatch, streaming):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    for name, first in (("cat", 0), ("dog", 10)):
        for row in range(first, first + 10):
            file = tmp_path / "mine" / name / f"{row:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(numbered_picture(row))
    data = module(
        tmp_path / "mine", tmp_path, num_classes=2, val_fraction=0, batch_size=5,
        streaming=streaming,
    )  # fmt: skip
    batch = everything(data.train_dataloader())
    assert sorted(numbers(batch)) == list(range(20))
    assert batch["label"].tolist() == [row // 10 for row in numbers(batch)]
    assert data.class_names == ["cat", "dog"]


def test_arrow_data_sets_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    rows = {"image": [{"bytes": numbered_picture(n), "path": None} for n in range(20)]}
    features = datasets.Features({"image": datasets.Image()})
    saved = datasets.Dataset.from_dict(rows, features)
    (tmp_path / "data").mkdir()
    with datasets.arrow_writer.ArrowWriter(
        features=features, path=str(tmp_path / "data" / "train.arrow")
    ) as writer:
        writer.write_table(saved.data.table)
        writer.finalize()
    data = module(tmp_path / "data", tmp_path, val_fraction=0, batch_size=5)
    assert sorted(numbers(everything(data.train_dataloader()))) == list(range(20))


def one_picture(tmp_path, pixels, **options):
    write_parquet(tmp_path / "one" / "test.parquet", [png(pixels)])
    data = module(tmp_path / "one", tmp_path, image_size=list(pixels.shape[:2]), **options)
    return everything(data.test_dataloader())["image"][0]


BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_static_binarisation_cuts_above_half(tmp_path):
    image = one_picture(tmp_path, BYTES, num_levels=2, binarize="static")
    assert torch.equal(image[0].flatten(), (torch.arange(256) > 127.5).to(torch.uint8))


def test_quantisation_gives_every_level_its_share(tmp_path):
    image = one_picture(tmp_path, BYTES, num_levels=4, quantize=True)
    assert torch.equal(image[0].flatten(), (torch.arange(256) // 64).to(torch.uint8))


def test_dynamic_binarisation_has_the_right_mean_and_is_redrawn_each_epoch(tmp_path):
    folder = tmp_path / "data"
    write_parquet(folder / "train.parquet", 200 * [png(BYTES)])
    write_parquet(folder / "test.parquet", 20 * [png(BYTES)])
    data = module(
        folder, tmp_path, num_levels=2, image_size=[16, 16], binarize="dynamic", val_fraction=0,
        batch_size=200,
    )  # fmt: skip
    loader = data.train_dataloader()
    first, second = (everything(loader)["image"] for _ in range(2))
    assert set(first.unique().tolist()) == {0, 1}
    mean = torch.cat([first, second]).float().mean(0).flatten()
    assert (mean - torch.arange(256) / 255).abs().max() < 5 * 0.5 / np.sqrt(400)
    assert not torch.equal(first.sum(0), second.sum(0))
    assert len({tuple(image.flatten().tolist()) for image in first}) == 200
    again = everything(data.train_dataloader())["image"]
    assert torch.equal(again, first)
    test, later = (everything(data.test_dataloader())["image"] for _ in range(2))
    assert torch.equal(test, later)


def test_flips_mirror_about_half_of_the_training_images_only(numbered, tmp_path, mode):
    plain = module(numbered, tmp_path, val_fraction=0, batch_size=50, **mode)
    flipped = module(numbered, tmp_path, val_fraction=0, batch_size=50, flip=True, **mode)
    before, after = (everything(data.train_dataloader())["image"] for data in (plain, flipped))
    same = (before == after).flatten(1).all(1)
    mirrored = (before.flip(3) == after).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 10 < mirrored.sum() < 40
    tests = (everything(data.test_dataloader())["image"] for data in (plain, flipped))
    assert torch.equal(*tests)


def test_maps_are_mirrored_with_their_images(tmp_path, mode):
    features = datasets.Features(
        {"image": datasets.Image(), "map": datasets.Array3D((1, 4, 4), "float32")}
    )
    pictures = [numbered_picture(n) for n in range(40)]
    maps = [np.array(Image.open(io.BytesIO(one)), np.float32)[None] for one in pictures]
    rows = {"image": [{"bytes": one, "path": None} for one in pictures], "map": maps}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
    options = {"embedding_key": "map", "embedding_dim": 1, "val_fraction": 0, "batch_size": 40}
    data = module(tmp_path / "train.parquet", tmp_path, flip=True, **options, **mode)
    batch = everything(data.train_dataloader())
    assert torch.equal(batch["image"].float(), batch["embedding"])
    assert 0 < sum(number < 40 for number in numbers(batch)) < 40  # the others are mirrored


def test_scaling_covers_then_crops_the_centre(tmp_path):
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 200
    write_parquet(tmp_path / "data" / "test.parquet", [png(pixels)])
    scaled = module(tmp_path / "data", tmp_path, resize="scale")
    assert (everything(scaled.test_dataloader())["image"] == 200).all()
    cropped = module(tmp_path / "data", tmp_path, resize="crop", image_size=[8, 10])
    row = everything(cropped.test_dataloader())["image"][0, 0, 0].tolist()
    assert row == [0] + 8 * [200] + [0]


def test_other_colours_are_converted_when_asked(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    image = one_picture(tmp_path, pixels, channels=3, convert_channels=True)
    assert torch.equal(image, torch.from_numpy(pixels[..., :3].copy()).permute(2, 0, 1))


@pytest.mark.parametrize(("dtype", "mode"), [(np.uint16, "I;16"), (np.float32, "F")])
def test_pixels_of_more_than_a_byte_are_refused_even_so(tmp_path, dtype, mode):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), 1000, dtype)).save(stream, "TIFF")
    write_parquet(tmp_path / "data" / "test.parquet", [stream.getvalue()])
    data = module(tmp_path / "data", tmp_path, convert_channels=True)
    with pytest.raises(ValueError, match=f"^channels=1 does not fit .* a picture of mode {mode}"):
        everything(data.test_dataloader())


GREY, COLOUR = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)
REFUSED = [
    (GREY, {"channels": 3}, r"^channels=3 does not fit .*row \d+, a picture of mode L"),
    (COLOUR, {}, r"^channels=1 does not fit .*mode RGB \(3 channels\)"),
    (GREY, {"image_size": [4, 5]}, r"^image_size=\[4, 5\] does not fit .* is \[4, 4\]; .*resize"),
    (GREY, {"image_size": [9, 4], "resize": "crop"}, r"^resize=crop cannot cut .*resize=scale"),
    (GREY + 9, {"num_levels": 9}, r"^num_levels=9 is below what the data hold: .* level 9; "),
    (GREY, {"classes": ["apple"]}, "need labels, but the columns are image"),
    (GREY, {"num_classes": 3}, "^num_classes=3 and classes need labels"),
    (GREY, {"image_key": "img"}, "^image_key=img is no column; there are image"),
    (GREY, {"label_key": "y"}, "^label_key=y is no column"),
    (GREY, {"embedding_key": "e", "embedding_dim": 2}, "^embedding_key=e is no column"),
]  # fmt: skip


@pytest.mark.parametrize(("pixels", "options", "message"), REFUSED)
def test_what_the_data_contradict_is_refused(tmp_path, pixels, options, message, mode):
    write_parquet(tmp_path / "data" / "train.parquet", 20 * [png(pixels)])
    data = module(tmp_path / "data", tmp_path, **options, **mode)
    with pytest.raises(ValueError, match=message) as caught:
        data.setup("fit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["bananna"]}, "^classes: 'bananna' is no class .*did you mean banana"),
        ({"classes": ["zzzzqqq"]}, "^classes: 'zzzzqqq' is no class .*it has apple"),
        ({"classes": [-1]}, "^classes: -1 is no class number; allowed are 0 … 4"),
        ({"classes": [5]}, "^classes: 5 is no class number; allowed are 0 … 4"),
        ({"classes": ["apple", 0]}, "names a class twice"),
        ({"num_classes": 7}, "^num_classes=7 is wrong: the data have 5 classes"),
        ({"classes": ["apple"], "num_classes": 5}, "the data have 1 classes"),
    ],
)
def test_wrong_classes_are_refused(numbered, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        module(numbered, tmp_path, **options).setup("fit")


def mixed_sizes(tmp_path):
    pictures = [numbered_picture(0), *(15 * [png(np.zeros((5, 5), np.uint8))])]
    write_parquet(tmp_path / "data" / "train.parquet", pictures, rows_per_group=4)
    return tmp_path / "data"


def test_a_worker_that_fails_says_so_in_one_line(tmp_path, mode):
    data = module(mixed_sizes(tmp_path), tmp_path, val_fraction=0, **{**mode, "num_workers": 2})
    with pytest.raises(ValueError, match=r"^image_size=\[4, 4\] does not fit .*\[5, 5\]") as caught:
        list(data.train_dataloader())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_levels": 1}, "^num_levels=1 must lie in 2 … 256"),
        ({"num_levels": 257}, "^num_levels=257"),
        ({"image_size": [4]}, r"^image_size=\[4\] must be"),
        ({"image_size": [0, 4]}, r"^image_size=\[0, 4\]"),
        ({"channels": 2}, "^channels=2 must be one of 1, 3"),
        ({"batch_size": 0}, "^batch_size=0"),
        ({"binarize": "static"}, "^binarize=static makes 2 levels, but num_levels=256"),
        (
            {"binarize": "soft", "num_levels": 2},
            "^binarize=soft must be one of null, static, dynamic",
        ),
        ({"resize": "bigger"}, "^resize=bigger must be one of null, scale, crop"),
        ({"on_corrupt": "ignore"}, "^on_corrupt=ignore must be one of raise, skip"),
        ({"val_fraction": 1.0}, "^val_fraction=1.0"),
        ({"max_examples": 0}, "^max_examples=0: must be 1 or more"),
        ({"shuffle_buffer": 0}, "^shuffle_buffer=0"),
        ({"num_workers": -1}, "^num_workers=-1"),
        ({"embedding_dim": 3}, "^embedding_key=None and embedding_dim=3 go together"),
        (
            {"splits": {"validation": "holdout"}},
            "^splits=validation must be one of train, val, test",
        ),
    ],
)
def test_values_out_of_range_are_refused_at_construction(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        module("anywhere", tmp_path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["/no/such/folder", "./nowhere", "some-lab/some-data"])
def test_data_that_cannot_be_had_name_the_ways_out(tmp_path, monkeypatch, path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match=rf"^path={path}: .*connect.*data\.path=DIR.*data=digits"
    ) as e:
        module(path, tmp_path).prepare_data()
    assert "\n" not in str(e.value)


def test_digits_are_deterministic_and_their_splits_disjoint():
    data = DigitsDataModule(num_classes=10)
    train, val, test = (data.examples(split) for split in ("train", "val", "test"))
    assert [len(part) for part in (train, val, test)] == [1437, 180, 180]
    images = [everything(loader) for loader in (data.val_dataloader(), data.test_dataloader())]
    assert images[0]["image"].max() == 16
    rows = [{tuple(i.flatten().tolist()) for i in part["image"]} for part in images]
    assert not rows[0] & rows[1]
    assert torch.equal(DigitsDataModule().first_batch()["image"], data.first_batch()["image"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_levels": 16}, "^num_levels=16 is below what the data hold: .* level 16"),
        ({"image_size": [9, 8]}, r"image_size=\[9, 8\]"),
        ({"num_classes": 9}, "^num_classes=9 is wrong: the data have 10"),
        ({"classes": ["ten"]}, "^classes: 'ten' is no class"),
        ({"max_examples": 0}, "^max_examples=0: must be 1 or more"),
    ],
)
def test_digits_refuse_what_they_are_not(options, message):
    with pytest.raises(OptionError, match=message):
        DigitsDataModule(**options).setup("fit")


def test_digits_can_be_binarised_and_selected():
    data = DigitsDataModule(num_levels=2, binarize="static", classes=[7, 3], num_classes=2)
    batch = everything(data.test_dataloader())
    assert set(batch["image"].unique().tolist()) == {0, 1}
    assert set(batch["label"].tolist()) == {0, 1}
    assert data.class_names == ["7", "3"]


def test_coloured_mnist_follows_its_recipe(tmp_path):
    grey = np.zeros((28, 28), np.uint8)
    grey[7:21, 7:21] = 255
    for split in ("train", "test"):
        write_parquet(tmp_path / "mnist" / f"{split}.parquet", 40 * [png(grey)], 40 * [1])
    options = {"num_classes": None, "val_fraction": 0, "batch_size": 40, "num_workers": 0}

    def images(**more):
        data = ColoredMNISTDataModule(
            str(tmp_path / "mnist"), cache_dir=str(tmp_path / "cache"), **options, **more
        )
        return everything(data.test_dataloader())["image"]

    first = images()
    assert first.shape == (40, 3, 28, 28)
    assert set(first.unique().tolist()) <= {0, 1, 2, 3}
    assert torch.equal(first, images())
    assert not torch.equal(first, images(color_seed=1))
    fine = images(num_levels=256).float()
    inside, outside = fine[..., 9:19, 9:19].mean((2, 3)), fine[..., :5, :].mean((2, 3))
    correlation = torch.corrcoef(torch.stack([inside.flatten(), outside.flatten()]))[0, 1]
    assert correlation < -0.5  # the digit's region is the inverse of its surroundings


def test_the_trainers_further_calls_open_nothing_twice(numbered, tmp_path, monkeypatch, mode):
    data = module(numbered, tmp_path, num_classes=5, classes=[4, 3, 2, 1, 0], **mode)
    data.prepare_data()

    def refuse(*args):
        raise AssertionError("read again")

    monkeypatch.setattr("pixelcnn_lit.data.tables.table.ParquetTable.read", refuse)
    monkeypatch.setattr("pixelcnn_lit.data.decoded_cache._opened", refuse)
    for stage in ("fit", "validate", "test"):
        data.prepare_data()
        data.setup(stage)
    assert len(data.train_dataloader()) == 1
    assert len(data.test_dataloader()) == 1


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "data").glob("*.yaml")))
def test_every_configuration_fits_its_data_module(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(f"data/{name}", ["data.path=somewhere"] if name == "folder" else [])
    data = instantiate(config.data)
    assert data.channels == config.data.channels
    assert data.num_levels == config.data.num_levels
    assert data.image_size == config.data.image_size
    text = (CONF / "data" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert f"data={name}" in text


def test_a_misspelt_key_that_data_files_share_is_refused():
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises(ConfigCompositionException, match=r"data\.num_retrys"),
    ):
        compose("data/imagenet64", ["data.num_retrys=3"])


@pytest.mark.parametrize(
    ("streaming", "in_memory", "cached"),
    [
        (False, None, True),
        (True, None, False),
        ("remote", None, True),
        ("remote", False, False),
        (True, True, True),
        (False, False, False),
    ],
)
def test_local_files_are_cached_unless_streaming_says_otherwise(
    numbered, tmp_path, streaming, in_memory, cached
):
    module(numbered, tmp_path, streaming=streaming, in_memory=in_memory).setup("test")
    assert (tmp_path / "cache").exists() == cached
