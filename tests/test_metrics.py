"""Bits and nats per dimension: exact over short batches, long sums and uneven processes."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
from tiny_runs import run_on_two
from torch import Tensor

from pixelcnn_lit.metrics import BitsPerDim, NatsPerDim, bits_per_dim, nats_per_dim

LOG_PROBS = [-1.0, -2.5, -40.0, -7.25, -3.0, -11.0, -0.5]
NUM_DIMS = 12


@pytest.mark.parametrize(("metric", "unit"), [(BitsPerDim, math.log(2)), (NatsPerDim, 1)])
def test_a_short_last_batch_weighs_no_more_than_its_images(metric, unit):
    measured = metric()
    for batch in torch.tensor(LOG_PROBS).split(3):  # 3, 3 and 1 images
        measured.update(batch, NUM_DIMS)
    expected = sum(-nats / (NUM_DIMS * unit) for nats in LOG_PROBS) / len(LOG_PROBS)
    assert measured.compute().dtype == torch.float64
    assert measured.compute().item() == pytest.approx(expected, rel=1e-14)


def test_images_of_different_sizes_weigh_as_their_dimensions():
    measured = NatsPerDim()
    measured.update(torch.tensor([-10.0]), 10)
    measured.update(torch.tensor([-90.0, -30.0]), 30)
    assert measured.compute().item() == pytest.approx(130 / 70)


def test_the_functions_keep_the_images_apart():
    log_prob = torch.tensor([-12.0, -24.0], dtype=torch.float64)
    assert nats_per_dim(log_prob, 12).tolist() == [1, 2]
    expected = [1 / math.log(2), 2 / math.log(2)]
    assert bits_per_dim(log_prob, 12).tolist() == pytest.approx(expected)


def test_a_uniform_byte_costs_eight_bits():
    measured = BitsPerDim()
    measured.update(torch.full((5,), -3072 * math.log(256), dtype=torch.float64), 3072)
    assert measured.compute().item() == pytest.approx(8, abs=1e-12)


def test_small_batches_still_count_after_a_long_sum():
    # A float32 sum at 2^24 no longer sees −1.
    measured = NatsPerDim()
    measured.update(torch.tensor([-(2.0**24)]), 1)
    for _ in range(100):
        measured.update(torch.tensor([-1.0]), 1)
    assert (measured.compute() * 101).item() == pytest.approx(2**24 + 100, abs=1e-6)


def test_casting_the_model_leaves_the_sums_in_float64():
    module = torch.nn.Module()
    module.metric = BitsPerDim()
    for cast in (module.half, module.float, module.bfloat16):
        cast()
        module.metric.update(torch.tensor([-1.0]), 4)
        assert module.metric.log_prob.dtype == torch.float64
        assert module.metric.num_dims.dtype == torch.int64


def test_reset_forgets():
    measured = BitsPerDim()
    measured.update(torch.tensor([-100.0]), 4)
    measured.reset()
    measured.update(torch.tensor([-4.0]), 4)
    assert measured.compute().item() == pytest.approx(1 / math.log(2))


def test_calling_it_returns_the_batch_and_keeps_the_epoch():
    measured = NatsPerDim()
    assert measured(torch.tensor([-4.0, -8.0]), 4).item() == pytest.approx(1.5)
    assert measured(torch.tensor([-40.0]), 4).item() == pytest.approx(10)
    assert measured.compute().item() == pytest.approx(52 / 12)


def test_no_graph_is_kept():
    measured = BitsPerDim()
    measured.update(torch.tensor([-4.0], requires_grad=True), 4)
    assert not measured.log_prob.requires_grad


def test_update_does_not_wait_for_the_device():
    # Tensors on the meta device have no values: whatever asks for one raises.
    measured = BitsPerDim().to("meta")
    measured.update(torch.zeros(4, device="meta"), NUM_DIMS)
    assert measured.log_prob.device.type == "meta"


def shares(rank: int) -> list[Tensor]:
    """Batches of one of two processes: 2 and 1 images, or 3 and 1."""
    images = torch.tensor(LOG_PROBS)
    return [images[:2], images[2:3]] if rank == 0 else [images[3:6], images[6:]]


SCRIPT = """
import sys
import torch
from test_metrics import NUM_DIMS, BitsPerDim, shares

torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
measured = BitsPerDim()
for batch in shares(rank):
    measured.update(batch, NUM_DIMS)
torch.save(measured.compute(), f"{sys.argv[1]}/{rank}.pt")
torch.distributed.destroy_process_group()
"""
"""What each of two processes does: count its share, reduce, write down what it got."""


def test_two_uneven_processes_measure_what_one_does(tmp_path: Path):
    (tmp_path / "measure.py").write_text(SCRIPT)
    importable = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    ended = run_on_two(str(tmp_path / "measure.py"), str(tmp_path), env=importable)
    assert [process.returncode for process in ended] == [0, 0], ended
    alone = BitsPerDim()
    alone.update(torch.tensor(LOG_PROBS), NUM_DIMS)
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt")
        assert together.item() == pytest.approx(alone.compute().item(), rel=1e-14)
