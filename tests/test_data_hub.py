"""Data sets by their ids on the Hugging Face hub, with the clients that read the real one."""

import multiprocessing
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import datasets
import huggingface_hub
import pytest
from hub_server import HubServer, commit
from picture_files import CLASS_NAMES, local, numbers, write_numbered

DESCRIPTION = """---
configs:
- config_name: grey
  data_files:
  - split: train
    path: grey/train-*
  - split: test
    path: grey/test-*
---
Pictures that say which row they are.
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Has a described data set, and an earlier revision without description and with less rows."""
    now, before = tmp_path_factory.mktemp("now"), tmp_path_factory.mktemp("before")
    for split, num_rows, num_files in (("train", 40, 2), ("test", 20, 1)):
        write_numbered(now / "grey", num_rows, num_files, split=split)
        write_numbered(before / "data", num_rows // 2, num_files, split=split)
    (now / "README.md").write_text(DESCRIPTION)
    revisions = {"main": now, "v1": before}
    server = HubServer({f"someone/{name}": revisions for name in ("pictures", "kept", "unseen")})
    yield server
    server.close()


@pytest.fixture(scope="module")
def clients(hub, tmp_path_factory):
    """A process whose clients know no other hub."""
    context = multiprocessing.get_context("fork")
    home = tmp_path_factory.mktemp("home")
    with ProcessPoolExecutor(1, context, know_only, (hub.url, home)) as pool:
        yield pool


def know_only(url, home):
    """What the clients read from the environment when they are imported."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    for config in (datasets.config, huggingface_hub.constants):
        config.HF_HUB_OFFLINE = False
    datasets.config.HF_ENDPOINT = huggingface_hub.constants.ENDPOINT = url
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.config.HF_DATASETS_CACHE = home / "datasets"
    datasets.config.HF_MODULES_CACHE = home / "modules"
    datasets.config.DOWNLOADED_DATASETS_PATH = home / "downloads"
    huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE = (
        url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    huggingface_hub.constants.HF_HUB_CACHE = str(home / "hub")
    huggingface_hub.constants.HF_TOKEN_PATH = str(home / "token")
    huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = True


def arrivals(path, cache, **options):
    """Number and class of every row of both splits, in that order; runs beside the test."""
    data = local(path, cache, num_classes=5, **options)
    arrived = {"train": data.train_dataloader(), "test": data.test_dataloader()}
    return {
        split: sorted(
            (number, data.class_names[label])
            for batch in batches
            for number, label in zip(numbers(batch), batch["label"].tolist(), strict=True)
        )
        for split, batches in arrived.items()
    }


def arrivals_without_network(*args, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        return arrivals(*args, **options)


def expected(num_rows):
    return [(row, CLASS_NAMES[row % 5]) for row in range(num_rows)]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("streaming", [True, False])
def test_every_row_of_a_hub_id_arrives_once_with_its_class(
    clients, tmp_path, streaming, num_workers
):
    options = {"streaming": streaming, "num_workers": num_workers}
    arrived = clients.submit(arrivals, "someone/pictures", tmp_path, **options).result()
    assert arrived == {"train": expected(40), "test": expected(20)}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("revision", ["v1", commit("v1")])
def test_a_revision_of_a_hub_id_is_what_arrives(clients, hub, tmp_path, streaming, revision):
    hub.asked.clear()
    options = {"streaming": streaming, "revision": revision}
    arrived = clients.submit(arrivals, "someone/pictures", tmp_path, **options).result()
    assert arrived == {"train": expected(20), "test": expected(10)}
    assert any(f"/{revision}/" in request for request in hub.asked)
    assert not any("/main/" in request for request in hub.asked)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((404, {"X-Error-Code": "RepoNotFound"}), "'nobody/nothing' doesn't exist on the Hub"),
        ((401, {"X-Error-Message": "Invalid username or password."}), "401 Unauthorized"),
        ((401, {"X-Error-Code": "GatedRepo"}), "gated dataset on the Hub"),
    ],
)
def test_an_id_that_the_hub_refuses_is_named_with_the_ways_out(
    clients, hub, tmp_path, monkeypatch, refusal, reason, streaming
):
    monkeypatch.setattr(hub, "refusal", refusal)
    refused = clients.submit(arrivals, "nobody/nothing", tmp_path, streaming=streaming)
    with pytest.raises(
        ValueError, match=rf"^path=nobody/nothing: .*{reason}.*connect.*data\.path=.*data=digits"
    ) as caught:
        refused.result()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_revision_that_the_hub_does_not_know_is_named(clients, tmp_path, streaming):
    options = {"streaming": streaming, "revision": "v9"}
    refused = clients.submit(arrivals, "someone/pictures", tmp_path, **options)
    with pytest.raises(ValueError, match=r"^path=someone/pictures: .*Revision 'v9' does"):
        refused.result()


def test_without_a_network_what_was_downloaded_is_read_but_not_as_another_revision(
    clients, tmp_path
):
    options = {"streaming": False, "val_fraction": 0.0}
    online = clients.submit(arrivals, "someone/kept", tmp_path / "1", **options).result()
    ask = partial(clients.submit, arrivals_without_network, "someone/kept", tmp_path / "2")
    assert ask(**options).result() == online
    with pytest.raises(ValueError, match=r"^path=someone/kept: .*what revision=v1 is"):
        ask(revision="v1", **options).result()


@pytest.mark.parametrize("num_answers", [0, 1, 4])
def test_a_hub_that_hangs_up_is_told_in_one_line(clients, hub, tmp_path, monkeypatch, num_answers):
    monkeypatch.setattr(hub, "num_answers", num_answers)
    asked = clients.submit(arrivals, "someone/unseen", tmp_path, streaming=True)
    with pytest.raises(ValueError, match=r"^path=someone/unseen: .*data=digits") as caught:
        asked.result()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "options"), [("nobody/not hing", {}), ("someone/pictures", {"name": "coloured"})]
)
def test_an_id_or_a_name_that_cannot_be_is_named(clients, tmp_path, path, options):
    refused = clients.submit(arrivals, path, tmp_path, streaming=True, **options)
    with pytest.raises(ValueError, match=rf"^path={path}"):
        refused.result()


@pytest.mark.slow  # the clients do not give up for half a minute
def test_without_a_hub_training_ends_with_one_line(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen: nobody else can
        environment = {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "HF_HOME": str(tmp_path / "home"),
        }
        options = ["model=pp", "data=mnist", "trainer=cpu", "size=small", "logger=none"]
        ended = subprocess.run(
            [sys.executable, "-m", "pixelcnn_lit", "train", *options, f"run_dir={tmp_path}/run"],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
    assert ended.returncode == 2
    assert re.fullmatch(
        r"error: path=ylecun/mnist: .*; connect .* data\.path=DIR .* data=digits.*\n", ended.stderr
    )
    assert not (tmp_path / "run").exists()
