"""Processes that are killed, disks that are full, files that are damaged."""

import itertools
import multiprocessing
import os
import re
import resource
import shutil
import signal
import threading
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock
from picture_files import local, numbered_picture, png, rows_of, write_numbered, write_parquet

from pixelcnn_lit.data import decoded_cache
from pixelcnn_lit.data.tables.encoded import EncodedSplit
from pixelcnn_lit.messages import OptionError

NUM_ROWS = 60

linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files")


def cache_folders(cache):
    return [path for path in cache.iterdir() if path.is_dir() and path.name != "digests"]


def prepare_until(last_step, folder, cache):
    """Decode into a cache and be killed at that step of writing, if there are so many."""
    steps = itertools.count(1)

    def deadly(work):
        def step(*args, **options):
            if next(steps) == last_step:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*args, **options)

        return step

    steps_of_writing = [
        (EncodedSplit, "decode"), (os, "fsync"), (Path, "replace"), (Path, "rename")
    ]  # fmt: skip
    for owner, name in steps_of_writing:
        setattr(owner, name, deadly(getattr(owner, name)))
    local(folder, cache).prepare_data()


def test_a_process_killed_at_any_step_of_caching_leaves_nothing_that_is_wrongly_believed(tmp_path):
    folder = write_numbered(tmp_path / "data", NUM_ROWS, rows_per_group=20)
    for num_steps in itertools.count(1):
        arguments = (num_steps, folder, tmp_path / "caches" / str(num_steps))
        child = multiprocessing.get_context("fork").Process(target=prepare_until, args=arguments)
        child.start()
        child.join()
        if child.exitcode != -signal.SIGKILL:
            break
    assert child.exitcode == 0
    assert num_steps >= 9  # three row groups, two files, the description, folders, the last name
    finished = 0
    for step in range(1, num_steps + 1):
        cache = tmp_path / "caches" / str(step)
        finished += [made.suffix for made in cache_folders(cache)] == [""]
        assert rows_of(local(folder, cache)) == list(range(NUM_ROWS)), step
        assert [made.suffix for made in cache_folders(cache)] == [""]
    assert finished == 2  # by the process that nobody killed, and one that was about to flush


def test_two_threads_at_once_decode_once(tmp_path, monkeypatch):
    """Each opens the lock's file itself, as processes do."""
    make, both = decoded_cache._make, threading.Barrier(2, timeout=60)
    made = []

    def counted(split, cache, num_workers):
        made.append(cache)
        make(split, cache, num_workers)

    def locked_at_once(file):
        both.wait()  # neither has found a cache
        return FileLock(file)

    monkeypatch.setattr(decoded_cache, "_make", counted)
    monkeypatch.setattr(decoded_cache, "FileLock", locked_at_once)
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    modules = [local(folder, tmp_path / "cache") for _ in range(2)]
    threads = [threading.Thread(target=module.prepare_data) for module in modules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert [rows_of(module) for module in modules] == 2 * [list(range(NUM_ROWS))]


def test_a_cut_off_cache_is_made_again(tmp_path, caplog):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    rows_of(local(folder, tmp_path / "cache"))
    (cache,) = cache_folders(tmp_path / "cache")
    os.truncate(cache / "image.bin", 100)
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(NUM_ROWS))
    assert "is damaged" in caplog.text


def test_other_content_or_options_never_find_the_old_cache(tmp_path):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    rows_of(local(folder, tmp_path / "cache"))
    file = next(folder.iterdir())
    write_parquet(file, [numbered_picture(n) for n in range(100, 100 + NUM_ROWS)], NUM_ROWS * [0])
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(100, 100 + NUM_ROWS))
    kept = local(folder, tmp_path / "cache", max_examples=7)
    assert rows_of(kept) == list(range(100, 107))


def test_a_second_start_reads_nothing_but_footers(tmp_path, monkeypatch):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    options = {"classes": [3, 1], "batch_size": 24}
    expected = [row for row in range(NUM_ROWS) if row % 5 in (1, 3)]
    assert rows_of(local(folder, tmp_path / "cache", **options)) == expected
    monkeypatch.setattr("pixelcnn_lit.data.tables.table.ParquetTable.read", None)
    monkeypatch.setattr("hashlib.file_digest", None)
    assert rows_of(local(folder, tmp_path / "cache", **options)) == expected


def test_classes_without_rows_make_an_empty_split(tmp_path):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    write_parquet(folder / "test.parquet", [numbered_picture(row) for row in range(5)], 5 * [2])
    for _ in range(2):
        data = local(folder, tmp_path / "cache", classes=[3, 1], batch_size=24)
        assert data.test_dataloader() == []
        assert len(data.train_dataloader()) == 1


@pytest.fixture(scope="module")
def few_and_many(tmp_path_factory):
    """Folders by their number of rows: fewer and more than fit into a file's buffer."""
    base = tmp_path_factory.mktemp("rows")
    return {n: write_numbered(base / str(n), n, rows_per_group=1000) for n in (NUM_ROWS, 2000)}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
@pytest.mark.parametrize("full", ["image.bin", "label.bin", "cache.json"])
@pytest.mark.parametrize("num_rows", [NUM_ROWS, 2000])
def test_a_disk_that_fills_up_is_an_error_that_names_the_way_out(
    few_and_many, tmp_path, monkeypatch, full, num_rows
):
    folder = few_and_many[num_rows]
    open_file = Path.open

    def opened(path, mode="r", *args, **options):
        device = Path("/dev/full") if full in path.name and "w" in mode else path
        return open_file(device, mode, *args, **options)

    with monkeypatch.context() as context:
        context.setattr(Path, "open", opened)
        with pytest.raises(ValueError, match=r"^cache_dir=.* no room .*data\.cache_dir=DIR") as e:
            local(folder, tmp_path / "cache").setup("fit")
    assert "\n" not in str(e.value)
    assert cache_folders(tmp_path / "cache") == []
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(num_rows))


def test_a_disk_that_is_too_small_is_an_error_before_any_decoding(tmp_path, monkeypatch):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    monkeypatch.setattr("pixelcnn_lit.data.tables.encoded.EncodedSplit.decode", None)
    with pytest.raises(ValueError, match=r"^cache_dir=.*960 bytes needed"):
        local(folder, tmp_path / "cache").setup("fit")
    assert cache_folders(tmp_path / "cache") == []


def test_a_cache_dir_that_is_no_folder_is_refused(tmp_path):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ValueError, match=r"^cache_dir=.*/cache cannot be written .*DIR"):
        local(folder, tmp_path / "cache").setup("fit")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_truncated_parquet_file_is_named(tmp_path, streaming):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    file = next(folder.iterdir())
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(OptionError, match=f"^{re.escape(str(file))} is no readable parquet"):
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
    with pytest.raises(OptionError, match=r"train.*parquet has changed since this run opened"):
        rows_of(data)


@contextmanager
def descriptors(number):
    """This process may open so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    free = (descriptor for descriptor in itertools.count() if descriptor not in used)
    limit = next(itertools.islice(free, number, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@linux
@pytest.mark.parametrize("streaming", [False, True])
def test_there_may_be_more_files_than_a_process_may_open(tmp_path, streaming):
    folder = write_numbered(tmp_path / "data", NUM_ROWS, NUM_ROWS)
    with descriptors(NUM_ROWS // 4):
        data = local(folder, tmp_path / "cache", streaming=streaming)
        assert rows_of(data) == list(range(NUM_ROWS))


def test_an_interrupted_decoding_leaves_nothing_behind(tmp_path, monkeypatch):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    decode, groups = EncodedSplit.decode, itertools.count()

    def interrupted(split, rows):
        if next(groups) == 3:
            raise KeyboardInterrupt
        return decode(split, rows)

    with monkeypatch.context() as context:
        context.setattr(EncodedSplit, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            local(folder, tmp_path / "cache").prepare_data()
    assert cache_folders(tmp_path / "cache") == []
    assert rows_of(local(folder, tmp_path / "cache")) == list(range(NUM_ROWS))


def test_decoding_without_a_terminal_tells_in_lines_how_far_it_is(tmp_path, monkeypatch, capsys):
    folder = write_numbered(tmp_path / "data", NUM_ROWS)
    monkeypatch.setattr("pixelcnn_lit.progress.Pace.is_due", lambda pace: True)
    local(folder, tmp_path / "cache").prepare_data()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"Decoding once: {number} of {NUM_ROWS} images" for number in range(10, NUM_ROWS, 10)
    ]
    local(folder, tmp_path / "cache").prepare_data()
    assert capsys.readouterr().err == ""


def peak_memory(folder, cache):
    """Bytes that Python and Arrow hold at most while a stream is read."""
    data = local(folder, cache, streaming=True, shuffle_buffer=100, image_size=[16, 16])
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
    lengths = (300, 300, 1_800)  # the first one also pays for what is imported and kept once
    peaks, sizes = [], []
    for number, num_rows in enumerate(lengths):
        noise = generator.integers(0, 256, (num_rows, 16, 16), dtype=np.uint8)
        path = tmp_path / str(number) / "train.parquet"
        write_parquet(path, list(map(png, noise)), rows_per_group=50)
        peaks.append(peak_memory(path.parent, tmp_path / "cache"))
        sizes.append(path.stat().st_size)
    assert peaks[2] < sizes[2]
    assert peaks[2] - peaks[1] < 0.05 * (sizes[2] - sizes[1])
