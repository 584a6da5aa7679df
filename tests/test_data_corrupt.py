"""Corrupt pictures: reported with their row, or left out without upsetting the others."""

import logging
import re
from collections import Counter

import datasets
import lightning as L
import numpy as np
import pytest
from picture_files import local, numbered_picture, numbers, rows_of, write_parquet

from pixelcnn_lit.models import LitPixelCNN


def corrupt_folder(tmp_path):
    """Row 13 of 30 is cut off, row 17 is no picture."""
    pictures = [numbered_picture(n) for n in range(30)]
    pictures[13], pictures[17] = pictures[13][:50], b"nonsense"
    write_parquet(tmp_path / "data" / "train.parquet", pictures, 30 * [0])
    return tmp_path / "data"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_corrupt_image_is_reported_with_its_row(tmp_path, streaming):
    folder = corrupt_folder(tmp_path)
    with pytest.raises(ValueError, match=r"train\.parquet row 1[37] is not.*on_corrupt=skip"):
        rows_of(local(folder, tmp_path / "cache", streaming=streaming))


@pytest.mark.parametrize(
    ("streaming", "num_workers"), [(False, 0), (False, 2), (True, 0), (True, 2)]
)
def test_corrupt_images_are_skipped_and_counted_only_when_asked(
    tmp_path, caplog, streaming, num_workers
):
    folder = corrupt_folder(tmp_path)
    data = local(
        folder, tmp_path / "cache", streaming=streaming, on_corrupt="skip", num_workers=num_workers
    )
    with caplog.at_level(logging.WARNING):
        expected = [row for row in range(30) if row not in (13, 17)]
        seen = rows_of(data)
    if not streaming:  # 28 rows fill two batches of ten: the documented remainder
        assert len(seen) == 20
        assert set(seen) <= set(expected)
        assert np.asarray(data.examples("train").arrays["image"]).shape == (28, 1, 4, 4)
    else:
        assert seen == expected
    assert "no. 1" in caplog.text
    assert "no. 2" in caplog.text
    assert re.search(r"row 13 .*(\n.*)*row 17 |row 17 .*(\n.*)*row 13 ", caplog.text)


def test_a_row_without_a_picture_of_any_kind_of_table_is_reported_or_skipped(tmp_path):
    cells = [{"bytes": numbered_picture(n), "path": None} for n in range(12)]
    features = datasets.Features({"image": datasets.Image()})
    saved = datasets.Dataset.from_dict({"image": [*cells, None]}, features)
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "data")
    with pytest.raises(ValueError, match=r"row 12 has no picture; say on_corrupt=skip"):
        rows_of(local(tmp_path / "data", tmp_path / "cache"))
    data = local(tmp_path / "data", tmp_path / "cache", on_corrupt="skip", batch_size=4)
    assert rows_of(data) == list(range(12))


def test_every_rank_takes_as_many_steps_however_many_pictures_each_skips(tmp_path, monkeypatch):
    corrupt = {*range(20, 33), 56}  # whole batches of some ranks, and the last one of evaluation
    pictures = [b"nonsense" if row in corrupt else numbered_picture(row) for row in range(57)]
    embeddings = [[float(row), 1.0] for row in range(57)]
    for split in ("train", "test"):
        file = tmp_path / "data" / f"{split}.parquet"
        write_parquet(file, pictures, 57 * [1], embeddings=embeddings, rows_per_group=8)
    data = local(
        tmp_path / "data", tmp_path / "cache", streaming=True, on_corrupt="skip", batch_size=12,
        embedding_key="embedding", embedding_dim=2, flip=True, shuffle_buffer=5,
    )  # fmt: skip
    trained, tested = [], []
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        batches = list(data.train_dataloader())
        assert len(batches) == 4
        assert all(1 <= len(batch["image"]) <= 3 for batch in batches)
        trained += [row for batch in batches for row in batch["embedding"][:, 0].tolist()]
        batches = list(data.test_dataloader())
        assert len(batches) == len(data.test_dataloader()) == 5
        tested += [row for batch in batches for row in numbers(batch)]
        assert all(batch["embedding"].shape == (len(batch["image"]), 2) for batch in batches)
    assert tested == [row for row in range(57) if row not in corrupt]
    assert not corrupt & set(trained)
    times = Counter(trained)
    num_stand_ins = sum(times.values()) - len(times)
    assert 1 <= num_stand_ins <= 4


def test_bits_per_dim_over_a_stream_with_corrupt_pictures_are_those_of_the_others(tmp_path):
    pictures = [b"nonsense" if row < 4 else numbered_picture(row) for row in range(30)]
    write_parquet(tmp_path / "data" / "test.parquet", pictures, 30 * [0])
    model = LitPixelCNN(1, 256, [4, 4], network={"num_filters": 4, "num_layers": 1})
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    options = {"batch_size": 4, "on_corrupt": "skip"}
    in_memory, streamed = (
        trainer.test(model, local(tmp_path / "data", tmp_path, streaming=s, **options))[0]
        for s in (False, True)
    )
    assert streamed == pytest.approx(in_memory, rel=1e-6)
    assert streamed["test/bits_per_dim"] > 1


def test_a_set_of_nothing_but_corrupt_pictures_is_refused(tmp_path):
    write_parquet(tmp_path / "data" / "train.parquet", 20 * [b"nonsense"], 20 * [0])
    data = local(tmp_path / "data", tmp_path, streaming=True, on_corrupt="skip")
    with pytest.raises(ValueError, match=r"parquet row \d+ ff\.: every picture is corrupt"):
        rows_of(data)
