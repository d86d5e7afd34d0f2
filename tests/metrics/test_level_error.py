import numpy as np
import pytest

from polytask.metrics import level_error


def test_median_level_and_weights():
    prediction = np.array([[0.4, 0.2, 0.4], [0.1, 0.1, 0.8]])  # medians 1 and 2
    assert level_error(np.array([0.0, 0.0]), prediction) == 1.5
    assert level_error(np.array([0.0, 0.0]), prediction, np.array([3.0, 1.0])) == 1.25


def test_the_median_is_no_worse_than_any_fixed_level(classes):
    label, _, _ = classes
    shares = np.bincount(label.astype(int)) / len(label)
    found = level_error(label, np.tile(shares, (len(label), 1)))
    assert found == pytest.approx(min(np.abs(label - level).mean() for level in range(4)))
