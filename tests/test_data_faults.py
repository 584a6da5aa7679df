"""Networks that fail, servers that hang up, processes that are killed, disks that are full."""

import errno
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain

import lightning as L
import numpy as np
import pyarrow as pa
import pytest
import torch
from picture_files import numbered_picture, numbers, png, write_numbered, write_parquet

from pixelcnn_lit.data import HFImageDataModule

NUM_ROWS = 60


class FaultyServer(ThreadingHTTPServer):
    """Serves a folder; of every eleven requests one gets a 503 and one half of its body.

    Attributes:
        faults: how many requests were answered badly.
        ranges: whether parts of files may be asked for.
        down: answers nothing but 503.
    """

    def __init__(self, folder, *, ranges=True, down=False):
        super().__init__(("127.0.0.1", 0), FaultyHandler)
        self.folder, self.ranges, self.down = folder, ranges, down
        self.count, self.faults, self.lock = 0, Counter(), threading.Lock()

    def handle_error(self, request, client_address):
        """A client that was hung up on hangs up too."""

    def turn(self):
        with self.lock:
            self.count += 1
            fault = "503" if self.down else {1: "drop", 6: "503"}.get(self.count % 11)
            self.faults[fault] += 1
            return fault

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class FaultyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Quiet."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        fault = self.server.turn()
        content = (self.server.folder / self.path.lstrip("/")).read_bytes()
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        part = content
        if asked and self.server.ranges:
            start, stop = int(asked[1]), int(asked[2] or len(content) - 1) + 1
            part = content[start:stop]
        if fault == "503":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if part is not content else 200)
        self.send_header("Content-Length", str(len(part)))
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if part is not content:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if body and fault == "drop":
            self.wfile.write(part[: len(part) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(part)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts faulty servers on a folder of numbered pictures."""
    monkeypatch.setattr("pixelcnn_lit.data.retrying._FIRST_WAIT", 0.01)
    folder = write_numbered(tmp_path / "served", NUM_ROWS, 6)
    servers = []

    def start(**options):
        server = FaultyServer(folder, **options)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def remote(server, tmp_path, **options):
    files = [f"{server.url}/train-0000{number}-of-00006.parquet" for number in range(6)]
    return HFImageDataModule(
        "parquet", data_files={"train": files}, channels=1, num_levels=256, image_size=[4, 4],
        batch_size=5, shuffle_buffer=15, cache_dir=str(tmp_path / "cache"),
        **{"streaming": True, "num_workers": 0, "val_fraction": 0.0, **options},
    )  # fmt: skip


class Counting(L.LightningModule):
    """Notes which rows it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen += numbers(batch)
        return self.weight * 1.0

    def validation_step(self, batch, batch_idx):
        """There is none."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's own use of torch
@pytest.mark.filterwarnings("ignore:Total length of `list`")  # no validation images here
@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_over_a_faulty_network_sees_every_row_once(serve, tmp_path, num_workers):
    server = serve()
    model = Counting()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(model, remote(server, tmp_path, num_workers=num_workers))
    assert sorted(model.seen) == list(range(NUM_ROWS))
    assert server.faults["503"] >= 2
    assert server.faults["drop"] >= 2


def test_a_server_that_sends_whole_files_only_will_do(serve, tmp_path):
    server = serve(ranges=False)
    data = remote(server, tmp_path)
    seen = chain.from_iterable(numbers(batch) for batch in data.train_dataloader())
    assert sorted(seen) == list(range(NUM_ROWS))


def test_remote_rows_are_decoded_into_memory_over_a_faulty_network(serve, tmp_path):
    server = serve()
    data = remote(server, tmp_path, streaming=False)
    seen = chain.from_iterable(numbers(batch) for batch in data.train_dataloader())
    assert sorted(seen) == list(range(NUM_ROWS))


def test_a_server_that_stays_down_is_named_with_the_way_out(serve, tmp_path):
    server = serve(down=True)
    with pytest.raises(
        ValueError, match=r"^path=parquet: .*2 times.*503.*data\.path=DIR"
    ) as caught:
        remote(server, tmp_path, num_retries=1).setup("fit")
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)


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
        assert np.asarray(data.examples("train").images).shape == (28, 1, 4, 4)
    else:
        assert seen == expected
    assert "no. 1" in caplog.text
    assert "no. 2" in caplog.text
    assert re.search(r"row 13 .*(\n.*)*row 17 |row 17 .*(\n.*)*row 13 ", caplog.text)


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


def test_rows_of_chosen_classes_are_counted_over_a_faulty_network_once(
    serve, tmp_path, monkeypatch
):
    server = serve()
    options = {"classes": ["banana"], "num_classes": 1}
    first = remote(server, tmp_path, **options)
    seen = rows_of(first)
    assert len(set(seen)) == 10  # 12 rows fill two batches of five
    assert {row % 5 for row in seen} == {1}

    def refuse(self, rows):
        raise AssertionError("counted again")

    monkeypatch.setattr("pixelcnn_lit.data.selection.RowFilter.counts", refuse)
    assert len(remote(server, tmp_path, **options).examples("train")) == 12
