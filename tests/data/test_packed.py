import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data.columns import Columns
from polytask.data.packed import Layout
from polytask.errors import DataError


def only_ids(ids: np.ndarray) -> Columns:
    return Columns(ids, np.zeros((len(ids), 0), np.float32), {}, {})


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([1, 256, 257, 65_536, 65_537, 2**31 - 1]), max_size=12), st.integers(0, 5), st.randoms())
def test_ids_come_back_whatever_their_width(sizes, n, random):
    ids = np.array([[random.choice([0, size - 1, random.randrange(size)]) for size in sizes] for _ in range(n)], np.int32)
    ids = ids.reshape(n, len(sizes))
    back = Layout(tuple(sizes), 0).pack(only_ids(ids)).unpack().categorical
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, ids)


@pytest.mark.parametrize(
    ("sizes", "row_bytes"),
    [
        ((256,) * 8, 8),
        ((257,) + (3,) * 3, 8),
        ((65_536,) * 4, 8),
        ((65_537,), 4),
        ((5,) * 7 + (70_000,), 20),
        ((70_000,) * 4, 16),
        ((300,) * 63, 128),  # 126 bytes, filled up to two cache lines
        ((9, 9, 9), 4),
    ],
)
def test_ids_take_as_few_bytes_as_pays(sizes, row_bytes):
    assert Layout(sizes, 0).row_bytes == row_bytes


def test_everything_comes_back(make_columns, make_packed, assert_same):
    kinds = {"weighted": True, "ragged": True}
    columns, packed = make_columns(500, **kinds), make_packed(500, **kinds)
    assert packed.lists["genres"].ids.dtype == np.uint8
    assert_same(packed.unpack(), columns)
    assert_same(packed.take(np.array([3, 499, 3, 0])).unpack(), columns.take(np.array([3, 499, 3, 0])))


def test_columns_of_another_preprocessing_are_refused(make_columns, make_layout):
    with pytest.raises(DataError, match=r"numeric fields: 2\. Received: 1\."):
        make_layout().pack(make_columns(3)._replace(numeric=np.zeros((3, 1), np.float32)))
    with pytest.raises(DataError, match="labels of"):
        make_layout(labels=("click",)).pack(make_columns(3))
