"""The number of threads: who decides it, that timing leaves no trace, and what is said later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from tiny_runs import TINY, rows, train_with

from pixelcnn_lit.messages import OptionError
from pixelcnn_lit.training import threads

# five steps per epoch, dropout, averaged weights, data-dependent initialisation
OPTIONS = [
    *TINY,
    "logger=none",
    "model.network.dropout=0.5",
    "data.max_examples=180",
    "data.batch_size=32",
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
    "callbacks.samples=null",
    "test=false",
]
run = partial(train_with, OPTIONS)
Clock = Callable[..., None]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Gives torch back what a run has set."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def on_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch takes and tells numbers of threads, and has one: several are slow on busy machines."""
    number = 1

    def take(asked: int) -> None:
        nonlocal number
        number = asked

    monkeypatch.setattr(torch, "set_num_threads", take)
    monkeypatch.setattr(torch, "get_num_threads", lambda: number)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Nobody says how many threads; sets the seconds of a step by their number."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def set_clock(seconds: dict[int, float], num_cores: int = 2) -> None:
        now = 0.0

        def read() -> float:  # once before and once after a step
            nonlocal now
            now += seconds[torch.get_num_threads()]
            return now

        monkeypatch.setattr(threads, "perf_counter", read)
        monkeypatch.setattr(threads, "usable_cores", lambda: num_cores)

    set_clock({})  # whoever reads it fails
    return set_clock


def checkpoint(run_dir: Path) -> dict:
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)


def recorded(run_dir: Path) -> tuple[object, object]:
    """What the configuration and the last checkpoint say."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    return config["threads"], checkpoint(run_dir)["threads"]


def numbers(run_dir: Path) -> list[dict[str, str]]:
    """metrics.csv without what is measured by the clock."""
    return [
        {name: value for name, value in row.items() if "per_second" not in name}
        for row in rows(run_dir)
    ]


def assert_same_weights(one: Path, other: Path) -> None:
    for part in ("state_dict", "current_model_state", "optimizer_states"):
        torch.testing.assert_close(checkpoint(one)[part], checkpoint(other)[part], rtol=0, atol=0)


@pytest.mark.parametrize("value", ["0", "-1", "1025", str(10**12)])
def test_an_impossible_number_is_refused_before_any_work(value: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=rf"^threads={value}: must be auto or 1 … 1024$"):
        run(tmp_path / "run", f"threads={value}")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", None])
def test_an_explicit_number_is_taken_kept_and_not_spoken_of(
    variable: str | None,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    clock({2: 0.1})
    run(tmp_path / "run", "threads=2", "trainer.max_steps=1")
    assert torch.get_num_threads() == 2
    assert recorded(tmp_path / "run") == (2, 2)
    assert "threads" not in capsys.readouterr().err


@pytest.mark.usefixtures("on_paper")
def test_the_environment_stands_above_auto(
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock({1: 0.1})
    monkeypatch.setattr(threads, "_time", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run(tmp_path / "run")
    assert recorded(tmp_path / "run") == (1, 1)
    assert "threads" not in capsys.readouterr().err


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("number", "seconds"),
    # another process makes two threads slow
    [(1, {1: 0.8, 2: 0.9}), pytest.param(2, {1: 0.9, 2: 0.8}, marks=pytest.mark.slow)],
)
def test_a_timed_run_is_to_the_last_bit_the_one_with_its_number(
    number: int,
    seconds: dict[int, float],
    tmp_path: Path,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock(seconds)
    run(tmp_path / "timed")
    assert recorded(tmp_path / "timed") == (number, number)
    says = f"threads: {number} (40 images/s, 36 with {3 - number})\n"  # 32 in 0.8 and 0.9 s
    assert says in capsys.readouterr().err
    torch.set_num_threads(1)
    run(tmp_path / "told", f"threads={number}")
    assert_same_weights(tmp_path / "timed", tmp_path / "told")
    assert numbers(tmp_path / "timed") == numbers(tmp_path / "told")


@pytest.mark.usefixtures("on_paper")
def test_a_model_without_likelihood_is_timed_as_well(tmp_path: Path, clock: Clock) -> None:
    clock({1: 0.3, 2: 0.2})
    others = [o for o in OPTIONS if not o.startswith(("model", "callbacks.samples"))]
    options = [*others, "model=conv_autoencoder", "callbacks.reconstructions=null"]
    train_with(options, tmp_path / "run", "trainer.precision=64-true")
    assert recorded(tmp_path / "run") == (2, 2)


@pytest.mark.usefixtures("on_paper")
def test_of_nearly_equal_numbers_the_smaller_is_taken_and_the_line_says_why(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock({1: 0.09, 2: 0.041, 4: 0.04, 6: 0.04}, num_cores=6)
    run(tmp_path / "run", "trainer.max_steps=1")
    assert recorded(tmp_path / "run") == (2, 2)
    said = capsys.readouterr().err
    assert "threads: 2 (780 images/s, 356 with 1, 800 with 4, 800 with 6; busy machines" in said


@pytest.mark.usefixtures("on_paper")
def test_where_a_step_takes_long_numbers_below_a_slower_one_are_left_out(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock({1: 9.0, 2: 5.0, 4: 4.0}, num_cores=4)
    run(tmp_path / "run", "trainer.max_steps=1")
    assert recorded(tmp_path / "run") == (4, 4)
    assert "threads: 4 (8 images/s, 6.4 with 2)" in capsys.readouterr().err


@pytest.mark.usefixtures("on_paper")
def test_a_resumed_run_takes_the_number_it_had_unless_told_another(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock({1: 0.2, 2: 0.3})
    run(tmp_path / "run", "threads=2", "trainer.max_steps=3")
    torch.set_num_threads(1)
    run(tmp_path / "run", "resume=auto")
    assert recorded(tmp_path / "run") == (2, 2)
    assert "threads" not in capsys.readouterr().err
    run(tmp_path / "whole", "threads=2")
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    run(tmp_path / "run", "resume=auto", "trainer.max_epochs=2", "threads=1")
    assert recorded(tmp_path / "run") == (1, 1)
    [said] = [line for line in capsys.readouterr().err.splitlines() if "threads" in line]
    assert said.startswith("threads: 1; ")
    assert "was trained with 2, so" in said


@pytest.mark.usefixtures("on_paper")
def test_a_machine_with_fewer_cores_than_a_run_had_is_timed(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock({1: 0.2, 2: 0.3, 3: 0.4})
    run(tmp_path / "run", "threads=3", "trainer.max_steps=3")
    run(tmp_path / "run", "resume=auto")
    assert recorded(tmp_path / "run") == (1, 1)
    assert "was trained with 3" in capsys.readouterr().err


@pytest.mark.usefixtures("on_paper")
@pytest.mark.parametrize("number", [1, 2])
def test_a_run_that_becomes_slow_says_so_once_and_one_thread_never(
    number: int,
    tmp_path: Path,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock({})
    now, reads = 0.0, 0

    def read() -> float:
        nonlocal now, reads
        reads += 1
        now += 1.0 if reads <= 2 * 6 else 4.0  # the first six steps, and all others
        return now

    monkeypatch.setattr(threads, "perf_counter", read)
    run(tmp_path / "run", f"threads={number}", "trainer.max_epochs=4")
    said = [line for line in capsys.readouterr().err.splitlines() if "images/s" in line]
    if number == 1:
        assert said == []
        return
    [line] = said
    assert line.startswith("training fell from 32 to 8 images/s: ")
    assert line.endswith("resume=auto threads=1 it does without")
    assert torch.get_num_threads() == 2
