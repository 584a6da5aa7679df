"""Processes that are killed, disks that are full, files that are damaged."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from picture_files import numbered_picture, numbers, png, write_numbered, write_parquet

from pixelcnn_lit.data import HFImageDataModule

NUM_ROWS = 60


def local(folder, cache, **options):
    usual = {"image_size": [4, 4], "num_workers": 0, "val_fraction": 0.0}
    return HFImageDataModule(
        str(folder), channels=1, num_levels=256, batch_size=10,
        cache_dir=str(cache), **{**usual, **options},
    )  # fmt: skip


def rows_of(data):
    return sorted(chain.from_iterable(numbers(batch) for batch in data.train_dataloader()))


def cache_folders(cache):
    return [path for path in cache.iterdir() if path.is_dir() and path.name != "digests"]


def test_a_process_killed_while_caching_leaves_nothing_that_is_believed(tmp_path):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    script = (
        "import sys, time\n"
        "from pixelcnn_lit.data import HFImageDataModule, encoded\n"
        "decode, calls = encoded.EncodedSplit.decode, []\n"
        "def slow(self, rows):\n"
        "    calls.append(0)\n"
        "    if len(calls) == 3:\n"
        "        print('half way', flush=True)\n"
        "        time.sleep(60)\n"
        "    return decode(self, rows)\n"
        "encoded.EncodedSplit.decode = slow\n"
        "HFImageDataModule(sys.argv[1], channels=1, num_levels=256, image_size=[4, 4],\n"
        "    num_workers=0, val_fraction=0.0, cache_dir=sys.argv[2]).prepare_data()\n"
    )
    command = [sys.executable, "-c", script, str(folder), str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        process.send_signal(signal.SIGKILL)
    (half,) = cache_folders(tmp_path / "cache")
    assert half.suffix == ".unfinished"
    assert (half / "images.bin").exists()
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(NUM_ROWS))
    (whole,) = cache_folders(tmp_path / "cache")
    assert whole.suffix == ""


def test_two_processes_at_once_decode_once(tmp_path, monkeypatch, caplog):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    modules = [local(folder, tmp_path / "cache") for _ in range(2)]
    threads = [threading.Thread(target=module.prepare_data) for module in modules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [rows_of(module) for module in modules] == 2 * [list(range(NUM_ROWS))]
    assert len(cache_folders(tmp_path / "cache")) == 1


def test_a_cut_off_cache_is_made_again(tmp_path, caplog):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    rows_of(local(folder, tmp_path / "cache"))
    (cache,) = cache_folders(tmp_path / "cache")
    os.truncate(cache / "images.bin", 100)
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(NUM_ROWS))
    assert "is damaged" in caplog.text


def test_other_content_or_options_never_find_the_old_cache(tmp_path):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    rows_of(local(folder, tmp_path / "cache"))
    file = next(folder.iterdir())
    status = file.stat()
    write_parquet(file, [numbered_picture(n) for n in range(100, 100 + NUM_ROWS)], NUM_ROWS * [0])
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(100, 100 + NUM_ROWS))
    kept = local(folder, tmp_path / "cache", max_examples=7)
    assert rows_of(kept) == list(range(100, 107))
    assert status.st_size != 0


def test_a_second_start_decodes_nothing(tmp_path, monkeypatch):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    rows_of(local(folder, tmp_path / "cache"))
    monkeypatch.setattr("pixelcnn_lit.data.encoded.EncodedSplit.decode", None)
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(NUM_ROWS))


def test_a_full_disk_is_an_error_that_names_the_way_out(tmp_path, monkeypatch):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)

    def full(self, rows):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("pixelcnn_lit.data.memory._Writer.append", full)
        with pytest.raises(ValueError, match=r"^cache_dir=.*no room.*data\.cache_dir=DIR"):
            local(folder, tmp_path / "cache").setup("fit")
        context.undo()
        usage = shutil.disk_usage(tmp_path)._replace(free=10)
        context.setattr("shutil.disk_usage", lambda path: usage)
        with pytest.raises(ValueError, match=r"^cache_dir=.*960 bytes needed"):
            local(folder, tmp_path / "cache").setup("fit")
    assert cache_folders(tmp_path / "cache") == []
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(NUM_ROWS))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_truncated_parquet_file_is_named(tmp_path, streaming):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    file = next(folder.iterdir())
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))} is not a complete parquet"):
        local(folder, tmp_path / "cache", streaming=streaming).setup("fit")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_is_replaced_in_mid_run_is_not_mixed_with_the_new_one(tmp_path, num_workers):
    folder = write_numbered(tmp_path / "data", NUM_ROWS, 2)
    data = local(folder, tmp_path / "cache", streaming=True, num_workers=num_workers)
    data.setup("fit")
    for file in sorted(folder.iterdir()):
        other = tmp_path / "other.parquet"
        pictures = [numbered_picture(row) for row in range(1000, 1000 + NUM_ROWS // 2)]
        write_parquet(other, pictures, NUM_ROWS // 2 * [1]).replace(file)
    if num_workers:  # opens the files again
        with pytest.raises(ValueError, match=r"train.*parquet has changed since this run opened"):
            rows_of(data)
    else:
        assert rows_of(data) == list(range(NUM_ROWS))


def peak_memory(folder, cache):
    """Bytes that Python and Arrow hold at most while a stream is read."""
    data = local(folder, cache, streaming=True, shuffle_buffer=200, image_size=[16, 16])
    loader = data.train_dataloader()
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    highest = 0
    tracemalloc.start()
    for _ in loader:
        highest = max(highest, pool.bytes_allocated() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak + highest


def test_memory_of_a_stream_does_not_grow_with_its_length(tmp_path):
    generator = np.random.default_rng(0)
    lengths = (500, 500, 4_000)  # the first one also pays for what is imported and kept once
    peaks, sizes = [], []
    for number, num_rows in enumerate(lengths):
        noise = generator.integers(0, 256, (num_rows, 16, 16), dtype=np.uint8)
        path = tmp_path / str(number) / "train.parquet"
        write_parquet(path, list(map(png, noise)), rows_per_group=100)
        peaks.append(peak_memory(path.parent, tmp_path / "cache"))
        sizes.append(path.stat().st_size)
    assert peaks[2] < sizes[2]
    assert peaks[2] - peaks[1] < 0.05 * (sizes[2] - sizes[1])
