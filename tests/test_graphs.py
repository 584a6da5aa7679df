"""Recording a row and replaying it gives the images of the ordinary walk.

No GPU is needed: a tape (tests/tape.py) records operations and memory as a CUDA graph does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from tape import TapeDevice
from torch import Tensor
from variants import OPTIONS, Case, Options, case_of, cases, random_images

from pixelcnn_lit.likelihoods import AbstractPixels
from pixelcnn_lit.models import AbstractLitModel
from pixelcnn_lit.networks.base import AbstractNetwork
from pixelcnn_lit.sampling import Chooser, Complete, Draw, Likeliest, draw_uniforms, walk
from pixelcnn_lit.sampling.graphs import (
    AbstractDevice,
    Recorder,
    Runner,
    Work,
    cuda_device,
    eager,
    runner,
)
from pixelcnn_lit.sampling.scans import CachedScan

ORDERED_AND_COUPLED = ["softmax", "logistic_mixture"]
BATCH = 2


def walked(
    case: Case,
    model: AbstractLitModel,
    run_by: Runner | None,
    chooser: Chooser | None = None,
    guidance: float = 1.0,
) -> Tensor:
    """Images drawn from the same random numbers at every call."""
    uniforms = draw_uniforms([5, 6], model.likelihood, model.image_size)
    with torch.no_grad():
        cond = model.condition(case.cond(model, BATCH))
    return walk(
        model.pixel_model,
        chooser or Draw(uniforms),
        BATCH,
        cond=cond,
        guidance=guidance,
        run_by=run_by,
    )


def assert_replay_equals_walk(case: Case, size: tuple[int, int], **options: object) -> None:
    model = case.build(size, **options)
    device = TapeDevice()
    expected = walked(case, model, eager)
    assert torch.equal(walked(case, model, Recorder(device)), expected)
    assert len(expected.unique()) > 1
    assert (device.num_warm_ups, device.num_played) == (1, size[0] - 1)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", cases(likelihoods=["softmax"]), ids=str)
def test_replayed_rows_give_the_images_of_the_walk(case: Case):
    assert_replay_equals_walk(case, (7, 4))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "case",
    cases(likelihoods=["bernoulli", "logistic_mixture", "channel_logistic_mixture"],
          channels=[3], conditionings=["none"]),
    ids=str,
)  # fmt: skip
def test_replayed_rows_give_the_images_of_the_walk_under_any_likelihood(case: Case):
    assert_replay_equals_walk(case, (4, 3))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [(2, 5), (8, 8), (9, 2)], ids=str)
@pytest.mark.parametrize(
    "case", cases(likelihoods=["logistic_mixture"], channels=[1], conditionings=["map"]), ids=str
)
def test_replayed_rows_give_the_images_of_the_walk_at_any_size(case: Case, size: tuple[int, int]):
    assert_replay_equals_walk(case, size)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_replayed_rows_give_the_images_of_the_walk_under_any_option(name: str, options: Options):
    assert_replay_equals_walk(case_of(name), (9, 4), **options)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["gated", "pp"])
def test_replayed_rows_complete_and_guide_like_the_walk(name: str):
    case = Case(case_of(name).variant, "logistic_mixture", 3, "label")
    model = case.build((6, 3), label_dropout=0.1)
    uniforms = draw_uniforms([7, 8], model.likelihood, model.image_size)
    images, given = random_images(model, BATCH), torch.rand(BATCH, 6, 3) < 0.4
    for otherwise in (lambda: Draw(uniforms), Likeliest):
        expected, replayed = (
            walked(case, model, run_by, Complete(images, given, otherwise()), guidance=2.0)
            for run_by in (eager, Recorder(TapeDevice()))
        )
        assert torch.equal(replayed, expected)


def test_the_first_row_is_run_and_every_kind_recorded_once_and_then_replayed():
    case = case_of("pp")
    model = case.build((12, 8), num_hierarchies=3)
    device = TapeDevice()
    walked(case, model, Recorder(device))
    assert (device.num_warm_ups, device.num_recorded, device.num_played) == (1, 3, 11)


@pytest.mark.parametrize("case", cases(likelihoods=["logistic_mixture"], channels=[3]), ids=str)
def test_what_a_walk_keeps_stays_where_it_is(case: Case):
    model = case.build((9, 8))
    x = model.input(random_images(model, BATCH))
    with torch.no_grad():
        scan = CachedScan(model.network, x, model.condition(case.cond(model, BATCH)))
        addresses = []
        for row in range(9):
            scan.read_row(row)
            scan.start_row(row)
            for column in range(8):
                scan.params(row, column)
                scan.paint(row, column, x[:, :, row, column])
            conds = [cond for cond in scan.conds if cond is not None]
            addresses.append([t.data_ptr() for t in [*scan.cache.tensors(), *conds]])
    assert addresses == [addresses[0]] * 9


class BrokenDevice(AbstractDevice):
    """Does half of the work it cannot record, in Python only."""

    def __init__(self, num_recordings: int) -> None:
        self.left = num_recordings
        self.tapes = TapeDevice()

    def warm_up(self, work: Work) -> None:
        self.tapes.warm_up(work)

    def record(self, work: Work) -> Work:
        tape = self.tapes.record(work)
        if not self.left:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        self.left -= 1
        return tape


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("num_recordings", [0, 1])
@pytest.mark.parametrize("case", cases(likelihoods=["softmax"], channels=[3]), ids=str)
def test_a_recording_that_fails_is_told_in_a_line_and_changes_nothing(
    case: Case, num_recordings: int
):
    model = case.build((7, 3))
    expected = walked(case, model, eager)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        images = walked(case, model, Recorder(BrokenDevice(num_recordings)))
    assert torch.equal(images, expected)
    num_kinds = model.network.num_hierarchies
    assert [str(warning.message) for warning in told] == (
        ["sampling without CUDA graphs, which is slower: "
         "operation not permitted when stream is capturing"] * (num_recordings < num_kinds)
    )  # fmt: skip


def test_after_a_recording_failed_no_later_walk_tries_one():
    case = case_of("gated")
    model = case.build((3, 2))
    device = BrokenDevice(0)
    with pytest.warns(UserWarning, match="sampling without CUDA graphs"):
        expected = walked(case, model, Recorder(device))
    device.left = 1  # would work now
    assert torch.equal(walked(case, model, Recorder(device)), expected)
    assert device.left == 1


class Graph:
    """Stands for a graph."""

    def replay(self) -> None:
        """Nothing was recorded."""


class Streams:
    """Stands for the streams of a GPU whose recordings end as PyTorch's do.

    Attributes:
        current: of the thread.
        num_made: streams.
        spoilt: the end of a recording raises and gives the stream before it not back.
    """

    def __init__(self) -> None:
        self.current = "default"
        self.num_made = 0
        self.spoilt = False

    def make(self, device: torch.device) -> str:
        self.num_made += 1
        return f"stream {self.num_made} of {device}"

    def enter(self, stream: str) -> None:
        self.current = stream

    def graph(self, graph: object, stream: str, capture_error_mode: str) -> Streams:
        self.recording = stream
        return self

    def __enter__(self) -> None:
        self.before, self.current = self.current, self.recording

    def __exit__(self, *raised: object) -> None:
        if self.spoilt:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.current = self.before


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Streams]:
    streams = Streams()
    for name, stand_in in {
        "Stream": streams.make,
        "set_stream": streams.enter,
        "current_stream": lambda device: streams.current,
        "graph": streams.graph,
        "CUDAGraph": Graph,
        "device": lambda device: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    cuda_device.cache_clear()
    yield streams
    cuda_device.cache_clear()


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_recording_gives_the_stream_back_however_it_ends(streams: Streams, spoilt: bool):
    streams.spoilt = spoilt
    seen = []
    with pytest.raises(RuntimeError, match="previous error") if spoilt else nullcontext():
        cuda_device(torch.device("cuda:0")).record(lambda: seen.append(streams.current))
    assert seen == ["stream 1 of cuda:0"]
    assert streams.current == "default"


def test_all_walks_on_a_gpu_record_on_one_stream_until_a_recording_fails(streams: Streams):
    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    kinds = [type(runner(device, recordable=True)) for device in (first, first, second)]
    assert kinds == [Recorder] * 3
    assert streams.num_made == 2
    cuda_device(first).gave_up = True
    assert runner(first, recordable=True) is eager
    assert runner(second, recordable=False) is eager


def test_an_operation_for_which_a_gpu_would_wait_is_not_recorded():
    def wait(pixels: AbstractPixels, row: int, column: int) -> Tensor:
        return pixels.mode + int(pixels.mode.sum().item() < 0)

    case = case_of("gated")
    model = case.build((3, 2))
    with pytest.warns(UserWarning, match="item.default cannot be recorded"):
        images = walked(case, model, Recorder(TapeDevice()), wait)
    assert torch.equal(images, walked(case, model, eager, Likeliest()))


@pytest.mark.parametrize(
    "case",
    cases(likelihoods=["logistic_mixture"], channels=[3], conditionings=["map"]),
    ids=str,
)
def test_a_walk_asks_its_device_nothing_and_brings_it_nothing(case: Case):
    """The device without memory refuses to be read and to be mixed with others."""
    model = case.build((3, 2))
    uniforms = draw_uniforms([5, 6], model.likelihood, model.image_size).to("meta")
    images, given = random_images(model, BATCH).to("meta"), (torch.rand(3, 2) < 0.4).to("meta")
    with torch.no_grad():
        cond = model.condition(case.cond(model, BATCH))
    model.to("meta")
    drawn = walk(
        model.pixel_model,
        Complete(images, given, Draw(uniforms)),
        BATCH,
        cond=None if cond is None else cond.to("meta"),
        guidance=2.0 if case.variant.name == "gated" else 1.0,
    )
    assert drawn.is_meta
    assert drawn.shape == images.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", cases(likelihoods=ORDERED_AND_COUPLED, channels=[3]), ids=str)
def test_cuda_graphs_give_the_images_of_the_walk(case: Case):
    model = case.build((9, 6)).cuda()
    assert isinstance(model.network, AbstractNetwork)
    cond = case.cond(model, BATCH)
    cond = None if cond is None else cond.cuda()
    expected, recorded = (
        walk(
            model.pixel_model,
            Draw(draw_uniforms([5, 6], model.likelihood, model.image_size).cuda()),
            BATCH,
            cond=model.condition(cond),
            run_by=run_by,
        )
        for run_by in (eager, None)
    )
    assert torch.equal(recorded, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_recording_that_fails_leaves_stream_and_device_usable():
    device = torch.device("cuda", torch.cuda.current_device())
    before = torch.cuda.current_stream(device)
    x = torch.ones(3, device=device)
    cuda_device.cache_clear()
    recorder = runner(device, recordable=True)
    recorder(0, lambda: None)
    seen = []
    with pytest.warns(UserWarning, match="sampling without CUDA graphs"):
        recorder(0, lambda: seen.append(x.sum().item()))
    assert seen == [3.0]
    assert torch.cuda.current_stream(device) == before
    assert runner(device, recordable=True) is eager
    cuda_device.cache_clear()
