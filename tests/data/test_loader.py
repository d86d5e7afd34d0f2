import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from polytask.data import loader as loader_module
from polytask.data.cache import Appender, Identity
from polytask.data.loader import Loader, Order
from polytask.data.store import EncodedRows
from polytask.errors import CheckpointError, ConfigError
from polytask.tasks import Binary

TASKS = [Binary("click"), Binary("buy", given="click")]


@pytest.fixture
def small_buffers(monkeypatch):
    """A table of a few hundred rows then has many buffers, and each has many blocks."""
    monkeypatch.setattr(loader_module, "BUFFER_ROWS", 64)
    monkeypatch.setattr(loader_module, "_BLOCKS", 16)


@pytest.fixture(scope="module")
def make_rows(make_packed):
    return lambda n, **kinds: EncodedRows.in_memory(make_packed(n, **kinds))


def row_numbers(batches) -> list[list[int]]:
    return [(batch.features.numeric[:, 0] - 0.5).long().tolist() for batch in batches]


def flat(lists) -> list[int]:
    return [number for part in lists for number in part]


@pytest.mark.usefixtures("small_buffers")
@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(0, 250),
    batch_size=st.integers(5, 150),
    shuffle=st.booleans(),
    drop=st.booleans(),
    prefetch=st.sampled_from([0, 2]),
)
def test_every_row_comes_once_an_epoch(make_rows, n, batch_size, shuffle, drop, prefetch):
    loader = Loader(make_rows(n), TASKS, batch_size=batch_size, shuffle=shuffle, drop_last=drop, prefetch=prefetch)
    for epoch in range(2):
        batches = row_numbers(loader)
        rows = flat(batches)
        assert len(batches) == len(loader)
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert len(set(rows)) == len(rows) == (n // batch_size * batch_size if drop else n)
        assert loader.state_dict() == {"epoch": epoch + 1, "row": 0}
        if not shuffle:
            assert rows == list(range(len(rows)))


@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop", [True, False])
def test_resumed_at_any_row_the_rest_is_the_same(make_rows, shuffle, drop):
    rows, how = make_rows(133), {"batch_size": 20, "shuffle": shuffle, "seed": 5}
    whole = Loader(rows, TASKS, **how)
    first, second = (flat(row_numbers(whole)) for _ in range(2))
    for row in range(134):
        resumed = Loader(rows, TASKS, **how, drop_last=drop, prefetch=0)
        resumed.load_state_dict({"epoch": 1, "row": row})
        rest = flat(row_numbers(resumed))
        left = 133 - row
        assert rest == second[row:][: left // 20 * 20 if drop else left]
        assert resumed.state_dict() == {"epoch": 2, "row": 0}
    assert first != second or not shuffle


@pytest.mark.usefixtures("small_buffers")
def test_resumed_between_batches_the_batches_are_the_same_bit_for_bit(make_rows):
    rows = make_rows(203, ragged=True, weighted=True)
    how = {"batch_size": 30, "seed": 3}
    loader = Loader(rows, TASKS, **how)
    states, batches = [loader.state_dict()], []
    for batch in loader:
        batches.append(batch)
        states.append(loader.state_dict())
    for done, state in enumerate(states):
        resumed = Loader(rows, TASKS, **how)
        resumed.load_state_dict(state)
        rest = list(resumed)
        assert len(rest) == len(batches) - done
        for mine, theirs in zip(rest, batches[done:], strict=True):
            assert torch.equal(mine.features.categorical, theirs.features.categorical)
            assert mine.features.numeric.numpy().tobytes() == theirs.features.numeric.numpy().tobytes()
            assert torch.equal(mine.features.ragged["tags"].ids, theirs.features.ragged["tags"].ids)
            assert torch.equal(mine.features.ragged["tags"].weights, theirs.features.ragged["tags"].weights)
            assert torch.equal(mine.labels["buy"].observed, theirs.labels["buy"].observed)
            assert torch.equal(mine.labels["buy"].weight, theirs.labels["buy"].weight)


def test_the_order_of_rows_does_not_depend_on_the_batch_size(make_rows):
    orders = [flat(row_numbers(Loader(make_rows(100), [], batch_size=size))) for size in (7, 100)]
    assert orders[0] == orders[1] != list(range(100))


def test_the_position_is_that_of_what_was_handed_out_not_of_what_is_ready(make_rows):
    loader = Loader(make_rows(100), TASKS, batch_size=10, prefetch=5)
    batches = iter(loader)
    next(batches)
    threading.Event().wait(0.05)
    assert loader.state_dict() == {"epoch": 0, "row": 10}


def test_breaking_off_keeps_the_position(make_rows):
    loader, whole = Loader(make_rows(50), TASKS, batch_size=10), Loader(make_rows(50), TASKS, batch_size=10)
    seen = []
    for batch in loader:
        seen += row_numbers([batch])
        if len(seen) == 2:
            break
    assert loader.state_dict() == {"epoch": 0, "row": 20}
    assert seen + row_numbers(loader) == row_numbers(whole)
    assert loader.state_dict() == {"epoch": 1, "row": 0}


def test_a_new_iteration_takes_over_from_one_that_is_under_way(make_rows):
    loader = Loader(make_rows(50), TASKS, batch_size=10)
    old = iter(loader)
    first = row_numbers([next(old)])
    new = row_numbers(loader)
    assert sorted(flat(first + new)) == list(range(50))
    assert list(old) == []
    assert loader.state_dict() == {"epoch": 1, "row": 0}


def test_the_end_of_an_epoch_is_seen_before_the_next_begins(make_rows):
    loader = Loader(make_rows(20), TASKS, batch_size=10)
    states = [loader.state_dict() for _ in loader]
    assert states == [{"epoch": 0, "row": 10}, {"epoch": 0, "row": 20}]
    loader.load_state_dict(states[-1])  # killed before what comes after an epoch
    assert list(loader) == []
    assert loader.state_dict() == {"epoch": 1, "row": 0}


@pytest.mark.usefixtures("small_buffers")
@settings(deadline=None, max_examples=25)
@given(n=st.integers(0, 300), world=st.integers(1, 5), epoch=st.integers(0, 3))
def test_ranks_share_an_epoch_equally(make_rows, n, world, epoch):
    rows, parts = make_rows(n), []
    for rank in range(world):
        loader = Loader(rows, [], batch_size=7, shard=(rank, world), prefetch=0)
        loader.load_state_dict({"epoch": epoch, "row": 0})
        parts.append(row_numbers(loader))
        assert len(parts[-1]) == len(loader)
    assert len({tuple(map(len, part)) for part in parts}) == 1
    together = [row for part in parts for row in flat(part)]
    assert len(set(together)) == len(together) == n // world * world


def test_other_rows_are_left_out_in_other_epochs(make_rows):
    loaders = [Loader(make_rows(11), [], batch_size=7, shard=(rank, 3)) for rank in range(3)]
    left = [set(range(11)).difference(*(flat(row_numbers(loader)) for loader in loaders)) for _ in range(12)]
    assert all(len(rows) == 2 for rows in left)
    assert len(set.union(*left)) > 6


def test_a_small_table_is_shuffled_perfectly():
    """Each of the 120 orders of five rows comes equally often: a chi-square test of 6000 epochs."""
    order = Order(5, size=loader_module.BUFFER_ROWS, seed=1)
    orders = [tuple(next(iter(order.buffers(epoch))).rows.tolist()) for epoch in range(6_000)]
    _, counts = np.unique(np.array(orders), axis=0, return_counts=True)
    assert len(counts) == 120
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_table_larger_than_the_buffer_is_mixed_well():
    """Rows sorted by a label: a batch's share of ones varies hardly more than that of rows drawn at random.

    A buffer of B rows holds B / 1024 blocks of 1024; its share of ones varies by 1/2 sqrt(1024 / B), so a batch of b rows by
    1/2 sqrt(1 / b + 1024 / B).
    """
    n, size, batch = 1 << 20, 1 << 17, 1024
    order = Order(n, size, seed=2)
    assert order.block == 1024
    rows = np.concatenate([buffer.rows for buffer in order.buffers(epoch=0)])
    assert np.array_equal(np.sort(rows), np.arange(n))
    shares = (rows >= n // 2).reshape(-1, batch).mean(axis=1)
    expected = 0.5 * np.sqrt(1 / batch + order.block / size)
    assert abs(shares.mean() - 0.5) < 1e-12
    assert shares.std() < 1.5 * expected
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.02  # neighbours in the order are none in the table


def test_epochs_and_seeds_differ(make_rows):
    loader = Loader(make_rows(40), [], batch_size=40, seed=1)
    epochs = [flat(row_numbers(loader)) for _ in range(3)]
    other = flat(row_numbers(Loader(make_rows(40), [], batch_size=40, seed=2)))
    assert len({tuple(order) for order in [*epochs, other]}) == 4
    assert flat(row_numbers(Loader(make_rows(40), [], batch_size=40, seed=1))) == epochs[0]


def test_files_parts_and_memory_load_the_same(make_packed, tmp_path):
    packed = make_packed(90, ragged=True)
    with Appender(tmp_path / "rows", packed.layout, Identity("d", "f", ())).appending() as appender:
        appender.append(packed)
    files, memory = EncodedRows.open(tmp_path / "rows"), EncodedRows.in_memory(packed)
    view = memory.subset(np.ones(90, bool))
    orders = [row_numbers(Loader(rows, TASKS, batch_size=8, seed=4)) for rows in (files, memory, view)]
    assert orders[0] == orders[1] == orders[2]
    part = files.subset(np.arange(90) % 3 == 0)
    assert sorted(flat(row_numbers(Loader(part, TASKS, batch_size=8)))) == list(range(0, 90, 3))


@pytest.mark.usefixtures("small_buffers")
def test_a_batch_is_not_overwritten_by_the_next(make_rows):
    loader = Loader(make_rows(300), TASKS, batch_size=25)
    kept = list(loader)
    fresh = Loader(make_rows(300), TASKS, batch_size=25, prefetch=0)
    for mine, theirs in zip(kept, fresh, strict=True):
        assert torch.equal(mine.features.categorical, theirs.features.categorical)


def test_no_thread_is_left_behind(make_rows):
    loader = Loader(make_rows(500), TASKS, batch_size=5)
    for _ in loader:
        break
    batches = iter(loader)
    next(batches)
    loader.close()
    unstarted = iter(loader)
    del unstarted, batches
    other = iter(loader)
    next(other)
    del other, loader
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == "polytask-prefetch"]


def test_the_interpreter_ends_quietly_in_the_middle_of_an_epoch():
    script = """
import numpy as np
from polytask.data.columns import Columns
from polytask.data.loader import Loader
from polytask.data.packed import Layout
from polytask.data.store import EncodedRows
columns = Columns(np.zeros((200_000, 3), np.int32), np.zeros((200_000, 2), np.float32), {}, {})
batches = iter(Loader(EncodedRows.in_memory(Layout((9, 9, 9), 2).pack(columns)), [], batch_size=64))
next(batches)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "how",
    [{"batch_size": 0}, {"batch_size": 2, "seed": -1}, {"batch_size": 2, "prefetch": -1}, {"batch_size": 2, "shard": (2, 2)}],
)
def test_numbers_out_of_range_are_refused(make_rows, how):
    with pytest.raises(ConfigError, match="A loader's"):
        Loader(make_rows(3), TASKS, **how)


@pytest.mark.parametrize("state", [{"epoch": 0, "row": 4}, {"epoch": -1, "row": 0}])
def test_positions_beyond_the_data_are_refused(make_rows, state):
    with pytest.raises(CheckpointError, match="epoch of 3 rows"):
        Loader(make_rows(3), TASKS, batch_size=2).load_state_dict(state)


def test_the_order_is_that_of_earlier_versions():
    """A run that was stopped goes on in the order it began with, also under a later version."""
    rows = [row for buffer in Order(12, size=8, seed=3).buffers(epoch=2) for row in buffer.rows.tolist()]
    assert rows == [11, 5, 7, 10, 3, 2, 8, 6, 9, 4, 0, 1]


def test_what_a_loader_held_is_free_without_waiting_for_the_garbage_collector(make_rows):
    gc.collect()
    gc.disable()
    try:
        loader = Loader(make_rows(300), TASKS, batch_size=20)
        held = weakref.ref(loader._reader)
        for _ in loader:
            pass
        del loader
        assert held() is None
    finally:
        gc.enable()
