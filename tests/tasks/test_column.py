import numpy as np
import pyarrow as pa
import pytest

from polytask.tasks._column import missing, numbers, plain, positions


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([3, 1, None, 2], (1, 2), [-1, 0, -1, 1]),
        ([3.0, 1.0, None, 2.5], (1, 2.5), [-1, 0, -1, 1]),
        ([1.0, 2.0], (2, 1), [1, 0]),
        ([True, False, None], (0, 1), [1, 0, -1]),
        ([1, 0], (False, True), [1, 0]),
        (["b", "c", None], ("c", "b"), [1, 0, -1]),
        (["3", "x"], (3, 4), [0, -1]),
        ([3, 4], ("3", "x"), [0, -1]),
        ([2**53 + 1, 2**53], (2**53, 2**53 + 1), [1, 0]),
    ],
)
def test_positions(values, options, expected):
    assert positions(plain(pa.array(values), "y"), options).tolist() == expected


def test_numbers_and_missing():
    column = plain(pa.array([1.0, float("nan"), None]), "y")
    assert missing(column).tolist() == [False, True, True]
    np.testing.assert_array_equal(numbers(column), [1.0, np.nan, np.nan])
