import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data import store
from polytask.data.cache import Appender, Identity
from polytask.data.preprocess import Preprocessing
from polytask.data.schema import Categorical, MultiValued, Numeric, Schema
from polytask.data.split import PartTable
from polytask.data.store import EncodedRows
from polytask.data.table import open_table
from polytask.errors import DataError
from polytask.tasks import Binary

KINDS = {"weighted": True, "ragged": True}
N = 600


@pytest.fixture(scope="module", params=["memory", "files"])
def rows(request, tmp_path_factory, make_packed):
    packed = make_packed(N, **KINDS)
    if request.param == "memory":
        return EncodedRows.in_memory(packed)
    directory = tmp_path_factory.mktemp("store") / "rows"
    with Appender(directory, packed.layout, Identity("d", "f", ())).appending() as appender:
        appender.append(packed)
    return EncodedRows.open(directory)


@pytest.fixture(scope="module")
def whole(make_columns):
    return make_columns(N, **KINDS)


@pytest.fixture(autouse=True)
def short_strips(monkeypatch):
    """Strips of 40 rows, so that few rows cross many of them. (A multiple of 8: strips end at whole bytes of bits.)"""
    monkeypatch.setattr(store, "_STRIDE", 40)
    monkeypatch.setattr(store, "_GAP", 3)


@pytest.mark.parametrize("block", [slice(None), slice(0, 0), slice(5, 6), slice(100, 599), slice(-3, None), slice(7, 3)])
def test_a_block_is_read(rows, whole, assert_same, block):
    assert_same(rows.read(block), whole.take(np.arange(N)[slice(*block.indices(N)[:2])]))


subsets = st.lists(st.integers(0, N - 1), unique=True, max_size=120).map(lambda index: np.array(sorted(index), np.int64))


@settings(deadline=None, max_examples=60)
@given(subsets)
def test_chosen_rows_are_read(rows, whole, assert_same, index):
    assert_same(rows.read(index), whole.take(index))


masks = st.one_of(
    subsets.map(lambda index: np.isin(np.arange(N), index)),
    st.tuples(st.integers(0, N), st.integers(0, N)).map(lambda ends: (np.arange(N) >= min(ends)) & (np.arange(N) < max(ends))),
    st.tuples(st.integers(0, 2**32 - 1), st.floats(0.05, 1)).map(lambda x: np.random.default_rng(x[0]).random(N) < x[1]),
)


@settings(deadline=None, max_examples=60)
@given(masks, st.data())
def test_a_part_reads_as_a_table_of_its_rows_would(rows, whole, assert_same, mask, data):
    view, expected = rows.subset(mask), whole.take(np.flatnonzero(mask))
    assert len(view) == expected.num_rows
    assert_same(view.read(slice(None)), expected)
    start = data.draw(st.integers(0, len(view)))
    stop = data.draw(st.integers(start, len(view)))
    assert_same(view.read(slice(start, stop)), expected.take(np.arange(start, stop)))
    index = np.flatnonzero(np.random.default_rng(start).random(len(view)) < 0.3)
    assert_same(view.read(index), expected.take(index))
    half = np.random.default_rng(stop).random(len(view)) < 0.5
    assert_same(view.subset(half).read(slice(None)), expected.take(np.flatnonzero(half)))
    assert_same(view.subset(index).read(slice(None)), expected.take(index))


@settings(deadline=None, max_examples=40)
@given(masks, st.lists(st.integers(0, N), min_size=2, max_size=12))
def test_pieces_are_read_into_memory_that_was_used_before(rows, whole, assert_same, mask, ends):
    for part, expected in ((rows, whole), (rows.subset(mask), whole.take(np.flatnonzero(mask)))):
        bounds = sorted(min(end, len(part)) for end in ends)
        pieces = np.array(bounds[: len(bounds) // 2 * 2]).reshape(-1, 2)
        scratch = store.Scratch()
        part.load(np.array([[0, len(part)]]), scratch)
        index = np.concatenate([np.arange(start, stop) for start, stop in pieces])
        assert_same(part.load(pieces, scratch).take(np.arange(len(index))).unpack(), expected.take(index))


@pytest.mark.parametrize(
    ("index", "match"),
    [
        (np.array([3, 2]), "must increase"),
        (np.array([3, 3]), "must increase"),
        (np.array([0, N]), f"0 to {N - 1}"),
        (np.array([-1, 2]), "must increase"),
    ],
)
def test_wrong_indices_are_refused(rows, index, match):
    with pytest.raises(DataError, match=match):
        rows.read(index)
    with pytest.raises(DataError, match=match):
        rows.subset(index)


def test_a_mask_of_another_length_is_refused(rows):
    with pytest.raises(DataError, match=f"each of {N} rows"):
        rows.subset(np.ones(N - 1, bool))
    with pytest.raises(DataError, match="step 1"):
        rows.read(slice(0, 10, 2))


def test_threads_read_at_once(rows, whole):
    wrong = []

    def reading(seed):
        random = np.random.default_rng(seed)
        for _ in range(60):
            start = int(random.integers(0, N - 50))
            if rows.read(slice(start, start + 50)).numeric[0, 0] != whole.numeric[start, 0]:
                wrong.append(start)

    threads = [threading.Thread(target=reading, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_rows_in_memory_do_not_change_with_what_was_read(make_packed):
    rows = EncodedRows.in_memory(make_packed(10))
    rows.read(slice(0, 10)).numeric[:] = 0
    assert rows.read(slice(3, 4)).numeric[0, 0] == 3.5


@pytest.fixture(scope="module")
def shop():
    table = open_table(
        pa.table(
            {
                "item": ["b", "a", None, "b", "c"] * 9,
                "price": [1.5, None, 3.0, 4.0, 9.0] * 9,
                "tags": [["x"], [], None, ["x", "y"], ["z"]] * 9,
                "click": [0, 1, 1, None, 1] * 9,
                "rows": [1.0, 2.0, 3.0, 4.0, 5.0] * 9,
                "unused": [object.__name__] * 45,
            }
        )
    )
    schema = Schema((Categorical("item"), Numeric("price"), MultiValued("tags")), weight="rows")
    return table, Preprocessing.fit(table, schema, [Binary("click")])


def test_a_written_table_reads_as_it_is_encoded(shop, tmp_path, assert_same):
    table, preprocessing = shop
    seen = []
    written = EncodedRows.write(table, preprocessing, tmp_path / "rows", progress=lambda *done: seen.append(done))
    expected = preprocessing.encode(next(table.batches()))
    assert seen == [(45, 45)]
    assert_same(written.read(slice(None)), expected)
    assert_same(EncodedRows.from_columns(expected, preprocessing).read(slice(None)), expected)


def test_what_is_there_is_opened_and_not_written_again(shop, tmp_path):
    table, preprocessing = shop
    EncodedRows.write(table, preprocessing, tmp_path / "rows")
    before = (tmp_path / "rows").stat().st_ino
    EncodedRows.write(table, preprocessing, tmp_path / "rows", progress=lambda *_: pytest.fail("encoded again"))
    assert (tmp_path / "rows").stat().st_ino == before


def test_another_table_or_preprocessing_or_choice_of_labels_is_encoded_anew(shop, tmp_path):
    table, preprocessing = shop
    EncodedRows.write(table, preprocessing, tmp_path / "rows")
    part = PartTable(table, np.arange(45) < 20)
    assert len(EncodedRows.write(part, preprocessing, tmp_path / "rows")) == 20
    other = Preprocessing.fit(table, Schema((Categorical("item"),)), [Binary("click")])
    rows = EncodedRows.write(part, other, tmp_path / "rows")
    assert rows.read(slice(0, 1)).numeric.shape == (1, 0)
    assert EncodedRows.write(part, other, tmp_path / "rows", labels=False).read(slice(0, 1)).labels == {}


def test_prediction_needs_no_labels(shop, tmp_path):
    table, preprocessing = shop
    features = open_table(next(table.batches(["item", "price", "tags"])))
    rows = EncodedRows.write(features, preprocessing, tmp_path / "rows", labels=False)
    assert rows.read(slice(None)).weight is None
    assert rows.read(slice(None)).to_batch(preprocessing.tasks).labels == {}


def test_a_table_without_rows_is_refused(shop, tmp_path):
    table, preprocessing = shop
    with pytest.raises(DataError, match="A table must have rows"):
        EncodedRows.write(PartTable(table, np.zeros(45, bool)), preprocessing, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_value_names_the_row_and_leaves_nothing_behind(shop, tmp_path):
    _, preprocessing = shop
    n = 70_000  # in the second piece of the table
    price = np.ones(n)
    price[66_000] = np.inf
    rows = {"item": ["a"] * n, "price": price, "tags": [["x"]] * n, "click": [1] * n, "rows": [1.0] * n}
    with pytest.raises(DataError, match=r"(?s)'price'.*row 66000"):
        EncodedRows.write(open_table(pa.table(rows)), preprocessing, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []
