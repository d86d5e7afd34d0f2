"""Lists and split text, laid flat; checked against Python loops."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data.values import split_values, value_lists
from polytask.errors import DataError


def flat(column, weights=None, max_length=None):
    found = value_lists(column, weights, names=("v", "w"), where=str, max_length=max_length)
    return found.values.to_pylist(), found.lengths.tolist(), None if found.weights is None else found.weights.tolist()


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.none() | st.lists(st.tuples(st.none() | st.integers(0, 9), st.floats(-9, 9)), max_size=5), max_size=9),
    max_length=st.none() | st.integers(1, 3),
    skip=st.integers(0, 4),
)
def test_values_lengths_and_weights(rows, max_length, skip):
    column = pa.array([None if row is None else [value for value, _ in row] for row in rows], pa.list_(pa.int64())).slice(skip)
    weights = pa.array([None if row is None else [weight for _, weight in row] for row in rows], pa.list_(pa.float64())).slice(
        skip
    )
    kept = [[pair for pair in row or [] if pair[0] is not None][:max_length] for row in rows[skip:]]
    values, lengths, found = flat(column, weights, max_length)
    assert values == [value for row in kept for value, _ in row]
    assert lengths == list(map(len, kept))
    assert found == [weight for row in kept for _, weight in row]


def test_text_is_split_and_lists_pass():
    lists = pa.array([["a"], None])
    assert split_values(lists, "v", None) is lists
    assert split_values(pa.array(["a|b", None, "c"]), "v", "|").to_pylist() == [["a", "b"], None, ["c"]]
    assert split_values(pa.array(["a|b", "a|b"]).dictionary_encode(), "v", "|").to_pylist() == [["a", "b"]] * 2
    assert split_values(pa.nulls(2), "v", None).to_pylist() == [None, None]
    with pytest.raises(DataError, match=r"'v' must be a list column.*string.*`separator`"):
        split_values(pa.array(["a|b"]), "v", None)
