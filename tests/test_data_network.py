"""Networks that fail: servers that hang up, fall silent, stay down, or serve another file."""

import threading

import aiohttp
import lightning as L
import pytest
import torch
from faulty_server import FaultyServer
from picture_files import local, numbers, rows_of, write_numbered

from pixelcnn_lit.data import HFImageDataModule
from pixelcnn_lit.messages import OptionError

NUM_ROWS = 60


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts faulty servers on a folder of numbered pictures; clients are impatient."""
    patience = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=0.3)
    monkeypatch.setattr("pixelcnn_lit.data.tables.files._TIMEOUT", patience)
    monkeypatch.setattr("pixelcnn_lit.data.tables.files._FIRST_WAIT", 0.01)
    folder = write_numbered(tmp_path / "served", NUM_ROWS, 6)
    servers = []

    def start(**options):
        server = FaultyServer(folder, **options)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


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


def test_a_server_that_hides_the_size_of_its_files_will_do(serve, tmp_path):
    data = remote(serve(empty_heads=True), tmp_path)
    assert rows_of(data) == list(range(NUM_ROWS))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_server_that_sends_whole_files_only_is_refused_at_once(serve, tmp_path, streaming):
    server = serve(ranges=False, fault=lambda number: None)
    with pytest.raises(OptionError, match=rf"^{server.url}/.*download .* data\.path=") as caught:
        remote(server, tmp_path, streaming=streaming).setup("fit")
    assert "\n" not in str(caught.value)
    assert sum(server.faults.values()) == 1  # asked for four bytes


@pytest.mark.parametrize("streaming", [False, True])
def test_a_path_may_be_the_address_of_a_file(serve, tmp_path, streaming):
    path = f"{serve().url}/train-00000-of-00006.parquet"
    data = local(path, tmp_path / "cache", streaming=streaming)
    assert rows_of(data) == list(range(NUM_ROWS // 6))


def test_remote_rows_are_decoded_into_memory_over_a_faulty_network(serve, tmp_path):
    server = serve()
    data = remote(server, tmp_path, streaming=False)
    assert rows_of(data) == list(range(NUM_ROWS))


def test_a_server_that_stays_down_is_named_with_the_way_out(serve, tmp_path):
    server = serve(fault=lambda number: "503")
    with pytest.raises(
        ValueError, match=r"^path=parquet: .*2 times.*503.*data\.path=DIR"
    ) as caught:
        remote(server, tmp_path, num_retries=1).setup("fit")
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)


def test_rows_of_chosen_classes_are_counted_over_a_faulty_network_once(
    serve, tmp_path, monkeypatch
):
    server = serve()
    options = {"classes": ["banana"], "num_classes": 1}
    first = remote(server, tmp_path, **options)
    seen = rows_of(first)
    assert len(set(seen)) == 10  # 12 rows fill two batches of five
    assert {row % 5 for row in seen} == {1}

    def refuse(self):
        raise AssertionError("counted again")

    monkeypatch.setattr("pixelcnn_lit.data.tables.encoded.EncodedSplit._count", refuse)
    assert len(remote(server, tmp_path, **options).examples("train")) == 12


@pytest.mark.parametrize("fault", ["silent", "stall", "page"])
def test_a_server_that_answers_with_nothing_or_nonsense_is_asked_again(serve, tmp_path, fault):
    server = serve(fault=lambda number: fault if number % 7 == 0 else None)
    assert rows_of(remote(server, tmp_path)) == list(range(NUM_ROWS))
    assert server.faults[fault] >= 2


def test_a_server_that_falls_silent_for_good_is_named(serve, tmp_path):
    server = serve(fault=lambda number: None)
    data = remote(server, tmp_path, num_retries=1)
    batches = iter(data.train_dataloader())
    next(batches)
    server.fault = lambda number: "silent"
    with pytest.raises(
        ValueError, match=rf"^reading {server.url}/train.* failed 2 times.*Timeout.*num_retries"
    ) as caught:
        list(batches)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("mark", ["ETag", "Last-Modified", "size"])
def test_a_file_that_changes_in_mid_run_is_noticed(serve, tmp_path, mark, num_workers):
    before, after = {
        "ETag": ({"ETag": '"a"', "Last-Modified": "today"}, {"ETag": '"b"'}),
        "Last-Modified": ({"Last-Modified": "yesterday"}, {"Last-Modified": "today"}),
        "size": ({}, {}),
    }[mark]
    server = serve(fault=lambda number: None, headers=before)
    data = remote(server, tmp_path, num_retries=1, num_workers=num_workers)
    data.setup("fit")
    server.headers = after
    if mark == "size":
        write_numbered(server.folder, NUM_ROWS, 6, rows_per_group=3)
    with pytest.raises(ValueError, match=f"has changed since .*: its {mark} was .* and is "):
        rows_of(data)


def test_a_cache_of_another_version_is_not_believed(serve, tmp_path):
    server = serve(fault=lambda number: None, headers={"ETag": '"a"'})
    assert rows_of(remote(server, tmp_path, streaming=False)) == list(range(NUM_ROWS))
    counted = sum(server.faults.values())
    assert rows_of(remote(server, tmp_path, streaming=False)) == list(range(NUM_ROWS))
    footers_only = sum(server.faults.values()) - counted
    server.headers = {"ETag": '"b"'}
    counted = sum(server.faults.values())
    assert rows_of(remote(server, tmp_path, streaming=False)) == list(range(NUM_ROWS))
    assert sum(server.faults.values()) - counted > footers_only
