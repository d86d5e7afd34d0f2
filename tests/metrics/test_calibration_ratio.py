import numpy as np
import pytest

from polytask.metrics import calibration_ratio


def test_is_predicted_over_observed(counts):
    label, prediction, weight = counts
    assert calibration_ratio(label, 3 * label) == 3.0
    assert calibration_ratio(label, prediction, weight) == pytest.approx((weight * prediction).sum() / (weight * label).sum())


def test_needs_a_positive():
    assert "no positive" in calibration_ratio(np.zeros(2), np.ones(2)).reason
