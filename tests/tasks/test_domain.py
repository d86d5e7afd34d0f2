import math

import numpy as np
import pyarrow as pa
import pytest

from polytask.errors import DataError
from polytask.tasks._domain import placed_labels, shares, softplus_inverse, tidy


def test_shares_sum_to_one_and_keep_a_finite_logarithm():
    found = shares(np.array([3, 0, 5]))
    assert sum(found) == pytest.approx(1)
    assert found[1] == pytest.approx(0.5 / 8.5)
    assert shares(np.array([3, 5])) == (0.375, 0.625)


def test_whole_floats_become_whole_numbers():
    assert tidy([2.0, 1.0, 1.5]) == (1, 1.5, 2)
    assert list(map(type, tidy([2.0, 1.0, 1.5]))) == [int, float, int]
    assert tidy(["b", "a"]) == ("a", "b")


@pytest.mark.parametrize("gap", [1e-6, 0.3, 5.0, 800.0])
def test_softplus_inverse(gap):
    x = softplus_inverse(gap)
    assert max(x, 0) + math.log1p(math.exp(-abs(x))) == pytest.approx(gap)


def test_rows_are_named_as_asked():
    with pytest.raises(DataError, match=r"'z' in clicks.csv, row 102"):
        placed_labels(pa.array(["a", None, "z"]), ("a", "b"), "y", lambda row: f"clicks.csv, row {100 + row}", DataError)
