"""Columns of any Arrow type as float64."""

import datetime
import math
from decimal import Decimal

import pyarrow as pa
import pytest

from polytask.data.numbers import as_numbers, refuse_infinite
from polytask.errors import DataError

MOMENT = datetime.datetime(1970, 1, 2, 0, 0, 1, 500_000, tzinfo=datetime.UTC)
CASES = {
    "int": (pa.array([2**53 - 1, None]), [2.0**53 - 1, math.nan]),
    "bool": (pa.array([True, False, None]), [1.0, 0.0, math.nan]),
    "float32": (pa.array([0.5, None], pa.float32()), [0.5, math.nan]),
    "decimal": (pa.array([Decimal("1.25"), None]), [1.25, math.nan]),
    "date32": (pa.array([datetime.date(1970, 1, 3), None]), [2 * 86_400.0, math.nan]),
    "date64": (pa.array([datetime.date(1970, 1, 3)], pa.date64()), [2 * 86_400.0]),
    **{f"timestamp {unit}": (pa.array([MOMENT, None], pa.timestamp(unit)), [86_401.5, math.nan]) for unit in ("ms", "us", "ns")},
    "zone": (pa.array([MOMENT], pa.timestamp("us", "Asia/Tokyo")), [86_401.5]),
    "time": (pa.array([datetime.time(0, 1, 1)], pa.time32("s")), [61.0]),
    "duration": (pa.array([datetime.timedelta(minutes=2)]), [120.0]),
    "text": (pa.array([" 1.5", None, "", "-2e3"]), [1.5, math.nan, math.nan, -2000.0]),
    "dictionary": (pa.array(["7", None, "7"]).dictionary_encode(), [7.0, math.nan, 7.0]),
    "nothing": (pa.nulls(1), [math.nan]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_type(case):
    column, expected = CASES[case]
    assert as_numbers(column, "x").tolist() == pytest.approx(expected, nan_ok=True)
    assert as_numbers(column.slice(1), "x").tolist() == pytest.approx(expected[1:], nan_ok=True)


def test_text_that_is_no_number_is_named_with_its_row():
    with pytest.raises(DataError, match=r"Column 'age' must be numeric\. Received: 'old' in row 102\. .*categorical"):
        as_numbers(pa.array(["1", None, "old", "x"]), "age", lambda row: f"row {100 + row}")


def test_lists_and_bytes_are_no_numbers():
    for column in (pa.array([[1]]), pa.array([b"1"]), pa.array([{"a": 1}])):
        with pytest.raises(DataError, match="Column 'x' must be numeric"):
            as_numbers(column, "x")


def test_infinite_values_are_named():
    with pytest.raises(DataError, match=r"'x' must hold finite numbers\. Received: -inf in row 2\."):
        refuse_infinite(as_numbers(pa.array([1.0, None, -math.inf, math.inf]), "x"), "x")
    refuse_infinite(as_numbers(pa.array([1e308, 1e308, None]), "x"), "x")  # the sum overflows, no value is infinite
