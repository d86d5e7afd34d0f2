"""What the first rows show of a column."""

import datetime

import pyarrow as pa
import pytest

from polytask.data import open_table
from polytask.data.profile import profiles
from polytask.errors import DataError

TABLE = pa.table(
    {
        "codes": [3.0, None, 3.0, 1.0],
        "price": [0.5, float("inf"), 2.0, None],
        "city": ["b", "a", "a", None],
        "flag": [True, False, None, True],
        "when": [datetime.date(2024, 1, 1)] * 4,
        "tags": [["a"], None, [], ["b"]],
        "vector": [[0.5], None, [], [1.0]],
        "raw": [b"a"] * 4,
        "none": pa.nulls(4),
    }
)


def test_kinds_counts_and_ranges():
    found = {profile.name: profile for profile in profiles(open_table(TABLE))}
    kinds = {name: profile.kind for name, profile in found.items()}
    assert kinds == {
        "codes": "integer", "price": "number", "city": "text", "flag": "boolean", "when": "time",
        "tags": "list", "vector": "list", "raw": "other", "none": "empty",
    }  # fmt: skip
    assert (found["codes"].values, found["codes"].counts, found["codes"].present) == ((3, 1), (2, 1), 3)
    assert (found["codes"].low, found["codes"].high) == (1.0, 3.0)
    assert (found["price"].values, found["price"].high) == ((0.5, 2.0), 2.0)
    assert found["city"].values == ("a", "b")
    assert found["flag"].is_flag
    assert [found[name].inner for name in ("tags", "vector")] == ["category", "number"]


def test_only_the_first_rows_are_looked_at():
    assert profiles(open_table(TABLE), rows=2)[2].values == ("a", "b")
    assert profiles(open_table(TABLE), rows=1)[2].values == ("b",)


def test_a_table_without_rows_is_refused():
    with pytest.raises(DataError, match="must have rows"):
        profiles(open_table(TABLE.slice(0, 0)))
