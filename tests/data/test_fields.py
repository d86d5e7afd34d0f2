"""Fields: from one column to numbers."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data import MultiValuedField, NumericField
from polytask.data.fields import split_weights
from polytask.data.vocabulary import Vocabulary
from polytask.errors import DataError

TAGS = Vocabulary("text", ("a", "b"))


def encoded(field, **columns):
    batch = pa.RecordBatch.from_pydict(columns)
    ids, offsets, weights = field.encode(batch)
    rows = [ids[start:stop].tolist() for start, stop in pairwise(offsets)]
    return rows, None if weights is None else [weights[start:stop].tolist() for start, stop in pairwise(offsets)]


def test_large_whole_numbers_keep_their_differences():
    start = 2**40
    field = NumericField("x", float(start), 2.0, (0.0, 1.0))
    assert field.encode(pa.array([start + i for i in range(5)])).tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_missing_numbers_stay_missing():
    found = NumericField("x", 1.0, 2.0, (0.0, 1.0)).encode(pa.array([None, 3.0, float("nan")]))
    assert found.dtype == np.float32
    assert np.isnan(found).tolist() == [True, False, True]


KINDS = {
    "list": pa.list_(pa.string()),
    "large list": pa.large_list(pa.large_string()),
    "list view": pa.list_view(pa.string()),
    "list of views": pa.list_(pa.string_view()),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.none() | st.lists(st.none() | st.sampled_from(["a", "b", "new", ""]), max_size=5), max_size=8),
    max_length=st.none() | st.integers(1, 3),
    skip=st.integers(0, 3),
)
def test_lists_of_all_shapes(kind, rows, max_length, skip):
    column = pa.array(rows, KINDS[kind]).slice(skip)
    found, _ = encoded(MultiValuedField("tags", TAGS, max_length=max_length), tags=column)
    meaning = {"a": 3, "b": 4, "new": 1}
    assert found == [[meaning[value] for value in row or [] if value][:max_length] for row in rows[skip:]]


def test_fixed_size_lists_and_lists_of_numbers():
    field = MultiValuedField("x", Vocabulary("integer", (5, 6)))
    column = pa.array([[5, 6], None, [6, 9]], pa.list_(pa.int32(), 2))
    assert encoded(field, x=column)[0] == [[3, 4], [], [4, 1]]


def test_weights_follow_their_values():
    field = MultiValuedField("tags", TAGS, weights="w", max_length=2)
    rows, weights = encoded(field, tags=[["a", None, "b", "a"], None, [], ["b"]], w=[[1.0, 9.0, 0.5, 7.0], None, None, [None]])
    assert rows == [[3, 4], [], [], [4]]
    assert weights == [[1.0, 0.5], [], [], [1.0]]


def test_text_is_split_with_and_without_weights():
    assert encoded(MultiValuedField("tags", TAGS, separator="|"), tags=["a|b", "", None, "|a||"])[0] == [[3, 4], [], [], [3]]
    field = MultiValuedField("tags", TAGS, separator=" ", weight_separator=":")
    assert encoded(field, tags=["a:0.5 b:2", None, "b"]) == ([[3, 4], [], [4]], [[0.5, 2.0], [], [1.0]])


def test_the_category_may_hold_the_weight_separator():
    values, weights = split_weights(pa.array(["http://x:2", "y:-1e2"]), ":", "tags")
    assert values.to_pylist() == ["http://x", "y"]
    assert weights.tolist() == [2.0, -100.0]


@pytest.mark.parametrize(
    ("options", "columns", "words"),
    [
        (
            {"weights": "w"},
            {"tags": [["a"], ["a", "b"]], "w": [[1.0], [1.0]]},
            r"'tags' and 'w'.*2 values and 1 weights in row 1",
        ),
        ({"weights": "w"}, {"tags": [["a"], ["b"]], "w": [[1.0], [float("inf")]]}, r"'w' must hold finite.*inf in row 1"),
        ({"weights": "w"}, {"tags": [["a"]], "w": [1.0]}, "'w' must be a list column"),
        ({}, {"tags": ["a|b"]}, "`separator`"),
        ({"separator": "|"}, {"tags": [1, 2]}, "Never seen"),
        ({"separator": "|", "weight_separator": ":"}, {"tags": ["a:x"]}, "'x' in value 'a:x'"),
    ],
)
def test_what_does_not_fit_is_named(options, columns, words):
    if words == "Never seen":  # a number is text without a separator
        assert encoded(MultiValuedField("tags", TAGS, **options), **columns)[0] == [[1], [1]]
        return
    with pytest.raises(DataError, match=words):
        encoded(MultiValuedField("tags", TAGS, **options), **columns)
