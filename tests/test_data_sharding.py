"""Every example once over all ranks, as many steps on each, and any place to resume from."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import numbers, write_numbered

from pixelcnn_lit.data import HFImageDataModule
from pixelcnn_lit.data.sharding import Shard, evaluation_sizes, training_sizes
from pixelcnn_lit.data.workers import from_workers


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """57 rows of 5 classes in 1 … 5 files of row groups of 4."""
    base = tmp_path_factory.mktemp("shards")
    return {
        num_files: write_numbered(base / str(num_files), 57, num_files, rows_per_group=4)
        for num_files in range(1, 6)
    } | {"cache": base / "cache"}


def module(sets, num_files, *, num_workers, streaming, batch_size, **options):
    return HFImageDataModule(
        str(sets[num_files]), channels=1, num_levels=256, image_size=[4, 4], val_fraction=0.0,
        batch_size=batch_size, streaming=streaming, num_workers=num_workers, shuffle_buffer=11,
        cache_dir=str(sets["cache"]), **options,
    )  # fmt: skip


def on_rank(monkeypatch, rank, num_ranks):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(num_ranks))


def epochs_of_every_rank(monkeypatch, data, num_ranks, num_epochs=1):
    """For each rank, its batches of rows of the first epochs."""
    ranks = []
    for rank in range(num_ranks):
        on_rank(monkeypatch, rank, num_ranks)
        loader = data.train_dataloader()
        ranks.append([[numbers(batch) for batch in loader] for _ in range(num_epochs)])
        assert all(len(epoch) == len(loader) for epoch in ranks[-1])
    return ranks


def assert_covers_once(ranks, batch_size):
    """The batches of every rank are as many, and hold each row once but for the remainder."""
    assert {len(batches) for batches in ranks} == {57 // batch_size}
    seen = Counter(chain.from_iterable(chain.from_iterable(ranks)))
    assert set(seen.values()) == {1}
    assert len(seen) == 57 - 57 % batch_size
    assert set(seen) <= set(range(57))


@pytest.mark.parametrize("num_files", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("streaming", [False, True])
def test_two_epochs_cover_the_set_once_each_in_equal_steps(
    sets, monkeypatch, num_files, num_ranks, streaming
):
    data = module(sets, num_files, num_workers=0, streaming=streaming, batch_size=2 * num_ranks)
    ranks = epochs_of_every_rank(monkeypatch, data, num_ranks, num_epochs=2)
    for epoch in range(2):
        assert_covers_once([rank[epoch] for rank in ranks], 2 * num_ranks)
    assert ranks[0][0] != ranks[0][1]


def in_turn(produce, num_workers):
    """What worker processes give, without starting any."""
    workers = [produce(worker, max(1, num_workers)) for worker in range(max(1, num_workers))]
    while workers:
        for worker in list(workers):
            try:
                yield next(worker)
            except StopIteration:
                workers.remove(worker)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_worker_processes_are_asked_in_turn(num_workers):
    def produce(worker, num_workers):
        yield from range(worker, 10, num_workers)

    given = list(from_workers(produce, num_workers))
    assert given == list(in_turn(produce, num_workers)) == list(range(10))


@pytest.mark.parametrize("num_files", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
def test_every_rank_of_a_stream_covers_its_share_and_resumes_exactly(
    sets, monkeypatch, num_ranks, num_workers, num_files
):
    if (num_ranks, num_workers, num_files) != (3, 2, 4):  # once with real ones
        monkeypatch.setattr("pixelcnn_lit.data.streaming.from_workers", in_turn)
    data = module(
        sets, num_files, num_workers=num_workers, streaming=True, batch_size=3 * num_ranks
    )
    epoch, ranks = num_files - 1, []
    for rank in range(num_ranks):
        on_rank(monkeypatch, rank, num_ranks)
        loader, again = data.train_dataloader(), data.train_dataloader()
        loader.load_state_dict({**loader.state_dict(), "epoch": epoch})
        # Another place for every combination, the beginning and the last batch among them.
        done = (7 * rank + 5 * num_workers + 3 * num_files) % len(loader)
        batches, states = [], [loader.state_dict()]
        for batch in loader:
            batches.append(numbers(batch))
            states.append(loader.state_dict())
        again.load_state_dict(states[done])
        assert [numbers(batch) for batch in again] == batches[done:]
        assert again.state_dict() == loader.state_dict()
        ranks.append(batches)
    assert_covers_once(ranks, 3 * num_ranks)


@pytest.mark.parametrize("rows_per_group", [57, 30, 4])
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_no_row_is_left_out_for_good(tmp_path, monkeypatch, rows_per_group, num_ranks):
    sets = {1: write_numbered(tmp_path / "data", 57, rows_per_group=rows_per_group)}
    sets["cache"] = tmp_path / "cache"
    data = module(sets, 1, num_workers=0, streaming=True, batch_size=20)
    ranks = epochs_of_every_rank(monkeypatch, data, num_ranks, num_epochs=40)
    left_out = [
        set(range(57)) - set(chain.from_iterable(chain.from_iterable(rank[e] for rank in ranks)))
        for e in range(40)
    ]
    assert {len(rows) for rows in left_out} == {17}
    assert not set.intersection(*left_out[:12])
    times = Counter(chain.from_iterable(left_out))
    assert set(times) == set(range(57))
    if rows_per_group == 57:  # blocks always in the same order: evenly, and never thrice running
        assert max(times.values()) - min(times.values()) <= 3
        assert not any(set.intersection(*left_out[e : e + 3]) for e in range(38))


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    num_ranks=st.integers(1, 4), num_files=st.integers(1, 5), streaming=st.booleans(),
    epoch=st.integers(0, 2), done=st.integers(0, 6), data_=st.data(),
)  # fmt: skip
def test_a_loader_resumes_anywhere_on_any_rank(
    sets, monkeypatch, num_ranks, num_files, streaming, epoch, done, data_
):
    rank = data_.draw(st.integers(0, num_ranks - 1))
    data = module(
        sets, num_files, num_workers=0, streaming=streaming, batch_size=2 * num_ranks, seed=5
    )
    on_rank(monkeypatch, rank, num_ranks)
    loader = data.train_dataloader()
    for _ in range(epoch):
        list(loader)
    batches = iter(loader)
    for _ in range(min(done, len(loader) - 1)):
        next(batches)
    state = loader.state_dict()
    rest = [numbers(batch) for batch in batches] + [numbers(batch) for batch in loader]
    again = data.train_dataloader()
    again.load_state_dict(state)
    assert [numbers(batch) for _ in range(2) for batch in again] == rest


@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_in_memory_global_batches_are_the_same_for_any_number_of_ranks(
    sets, monkeypatch, num_ranks
):
    data = module(sets, 2, num_workers=0, streaming=False, batch_size=12)
    (alone,) = epochs_of_every_rank(monkeypatch, data, 1)
    ranks = epochs_of_every_rank(monkeypatch, data, num_ranks)
    joined = [list(chain(*parts)) for parts in zip(*(rank[0] for rank in ranks), strict=True)]
    assert joined == alone[0]


@pytest.mark.parametrize("streaming", [False, True])
def test_the_first_batch_is_the_global_one_on_every_rank(sets, monkeypatch, streaming):
    data = module(sets, 2, num_workers=0, streaming=streaming, batch_size=12)
    first = numbers(next(iter(data.train_dataloader())))
    for rank in range(3):
        on_rank(monkeypatch, rank, 3)
        assert numbers(data.first_batch()) == first
    assert len(first) == 12


@pytest.mark.parametrize(("streaming", "num_workers"), [(False, 0), (True, 0), (True, 2)])
@pytest.mark.parametrize(("num_ranks", "batch_size"), [(1, 10), (2, 6), (4, 8), (4, 4)])
def test_evaluation_sees_every_example_once(
    sets, monkeypatch, num_ranks, batch_size, streaming, num_workers
):
    if num_ranks > 1:  # once with real workers
        monkeypatch.setattr("pixelcnn_lit.data.streaming.from_workers", in_turn)
    options = {"streaming": streaming, "num_workers": num_workers, "batch_size": batch_size}
    data = module(sets, 3, **options, splits={"val": "train"})
    seen, steps = [], set()
    for rank in range(num_ranks):
        on_rank(monkeypatch, rank, num_ranks)
        loader = data.val_dataloader()
        batches = [numbers(batch) for batch in loader]
        assert len(batches) == len(loader)
        steps.add(len(batches))
        seen += chain.from_iterable(batches)
    assert len(steps) == 1
    assert (sorted(seen) if num_workers else seen) == list(range(57))  # workers take turns


@settings(max_examples=200, deadline=None)
@given(
    num_examples=st.integers(1, 300), num_ranks=st.integers(1, 7), local=st.integers(1, 9)
)  # fmt: skip
def test_sizes_add_up_and_no_batch_is_empty(num_examples, num_ranks, local):
    if num_examples < num_ranks:
        with pytest.raises(ValueError, match="fewer than"):
            evaluation_sizes(num_examples, local * num_ranks, Shard(0, num_ranks))
        return
    shards = [Shard(rank, num_ranks) for rank in range(num_ranks)]
    evaluation = [evaluation_sizes(num_examples, local * num_ranks, shard) for shard in shards]
    assert sum(map(sum, evaluation)) == num_examples
    assert len({len(sizes) for sizes in evaluation}) == 1
    assert all(1 <= size <= max(local, 2) for sizes in evaluation for size in sizes)
    training = [training_sizes(num_examples, local * num_ranks, shard) for shard in shards]
    assert len({len(sizes) for sizes in training}) == 1
    left_out = num_examples - sum(map(sum, training))
    assert left_out == (num_examples % (local * num_ranks) if len(training[0]) > 1 else left_out)
    assert 0 <= left_out < local * num_ranks
    assert all(size >= 1 for sizes in training for size in sizes)


@pytest.mark.parametrize(("batch_size", "num_ranks"), [(2, 3), (8, 3), (1, 2)])
def test_a_batch_that_the_processes_cannot_share_is_refused(
    sets, monkeypatch, batch_size, num_ranks
):
    on_rank(monkeypatch, 0, num_ranks)
    data = module(sets, 1, num_workers=0, streaming=True, batch_size=batch_size)
    for step in (data.prepare_data, data.setup):
        with pytest.raises(ValueError, match=f"^batch_size={batch_size} .*multiple.*{num_ranks}$"):
            step()


def test_a_set_smaller_than_a_batch_gives_one_batch(sets):
    data = module(sets, 1, num_workers=0, streaming=False, batch_size=100)
    assert [sorted(numbers(batch)) for batch in data.train_dataloader()] == [list(range(57))]


def test_another_order_after_a_resume_is_announced(sets, caplog):
    state = (
        module(sets, 1, num_workers=0, streaming=True, batch_size=4).train_dataloader().state_dict()
    )
    data = module(sets, 1, num_workers=2, streaming=True, batch_size=4)
    data.train_dataloader().load_state_dict(state)
    assert "num_workers=2 instead of 0" in caplog.text
