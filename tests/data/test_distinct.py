"""Columns of any Arrow type as distinct plain values."""

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from polytask.data.distinct import KINDS, as_kind, distinct
from polytask.errors import DataError

DAY = datetime.date(2024, 2, 29)
CASES = {
    "int8": (pa.array([3, None, 3, -1], pa.int8()), ["integer", 3, None, 3, -1]),
    "uint64": (pa.array([2**64 - 1, None, 5, 5], pa.uint64()), ["text", str(2**64 - 1), None, "5", "5"]),
    "bool": (pa.array([True, None, False, True]), ["boolean", True, None, False, True]),
    "codes as float": (pa.array([3.0, None, float("nan"), -1.0]), ["integer", 3, None, None, -1]),
    "float": (pa.array([0.5, None, 2.0, 0.5], pa.float32()), ["number", 0.5, None, 2.0, 0.5]),
    "text": (pa.array(["NA", None, "", "NA"]), ["text", "NA", None, "", "NA"]),
    "large text": (pa.array(["é", None], pa.large_string()), ["text", "é", None]),
    "view": (pa.array(["a" * 20, None, "b"], pa.string_view()), ["text", "a" * 20, None, "b"]),
    "dictionary": (pa.array(["x", None, "y", "x"]).dictionary_encode(), ["text", "x", None, "y", "x"]),
    "dictionary of numbers": (pa.array([7, None, 7]).dictionary_encode(), ["integer", 7, None, 7]),
    "date": (pa.array([DAY, None]), ["text", "2024-02-29", None]),
    "decimal": (pa.array([Decimal("1.50"), None]), ["text", "1.50", None]),
    "bytes": (pa.array([b"ab", None]), ["text", "ab", None]),
    "nothing": (pa.nulls(2), ["text", None, None]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("skip", [0, 1])
def test_values_of_every_type(case, skip):
    column, (kind, *expected) = CASES[case]
    found = distinct(column.slice(skip), "x")
    back = [None if code < 0 else found.values[int(code)].as_py() for code in found.codes]
    assert back == expected[skip:]
    assert found.codes.dtype == np.int32
    if skip == 0:
        assert found.kind == kind
    counts = found.counts()
    assert counts.sum() == sum(value is not None for value in expected[skip:]) or None in found.values.to_pylist()


def test_a_dictionary_larger_than_the_batch():
    whole = pa.array([f"t{i}" for i in range(1000)]).dictionary_encode()
    found = distinct(whole.slice(500, 3), "x")
    assert found.values.to_pylist() == ["t500", "t501", "t502"]


def test_what_is_no_category_is_refused():
    with pytest.raises(DataError, match=r"'x' must hold one value a row.*list<.*multi_valued"):
        distinct(pa.array([[1]]), "x")
    with pytest.raises(DataError, match=r"'x' must hold categories.*binary"):
        distinct(pa.array([b"\xff"]), "x")
    with pytest.raises(DataError, match=r"'x' must hold categories.*inf"):
        distinct(pa.array([float("inf")]), "x")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["5", "x", "-7", "99999999999999999999"], "integer", [5, None, -7, None]),
        ([5, -3], "text", ["5", "-3"]),
        ([2.0, 2.5], "integer", [2, None]),
        ([2, 3], "number", [2.0, 3.0]),
        ([1, 0, 7], "boolean", [True, False, None]),
        ([True, False], "integer", [1, 0]),
        ([True], "text", ["true"]),
    ],
)
def test_files_that_spell_a_code_otherwise(values, kind, expected):
    plain = pa.array(values)
    plain = plain.cast(KINDS["text"]) if plain.type == pa.string() else plain
    assert as_kind(plain, kind, "x").to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "kind"), [(["a", "b"], "integer"), ([1.5], "text"), (["true"], "boolean"), (["1.5"], "number"), ([5], "boolean")]
)
def test_a_column_of_another_kind_is_refused(values, kind):
    found = distinct(pa.array(values), "city")
    with pytest.raises(DataError, match=rf"'city' must hold {kind} categories as in training"):
        as_kind(found.values, kind, "city")


def test_an_empty_column_is_of_any_kind():
    assert as_kind(pa.nulls(2, KINDS["text"]), "integer", "x").to_pylist() == [None, None]
