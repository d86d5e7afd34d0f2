import numpy as np
import pytest

from polytask.metrics import calibration_error


def slow(label, prediction):
    """Equal bins of distinct predictions, in the order of the predictions."""
    order = np.argsort(prediction)
    parts = np.array_split(order, 15)
    return sum(len(part) / len(order) * abs(prediction[part].mean() - label[part].mean()) for part in parts)


def test_equals_equal_bins_where_nothing_ties():
    random = np.random.default_rng(0)
    prediction = random.permutation(np.linspace(0.01, 0.9, 1500))
    label = (random.uniform(size=1500) < prediction**2).astype(float)
    assert calibration_error(label, prediction) == pytest.approx(slow(label, prediction), rel=1e-9)


def test_whole_weights_are_repeated_rows_and_order_does_not_matter(binary):
    label, prediction, _ = binary
    times = np.random.default_rng(1).integers(1, 4, len(label))
    found = calibration_error(label, prediction, times.astype(float))
    repeated = np.repeat(np.arange(len(label)), times)[::-1]
    assert calibration_error(label[repeated], prediction[repeated]) == pytest.approx(found, rel=1e-9)


def test_true_probabilities_are_near_zero_and_shifted_ones_are_off_by_the_shift():
    random = np.random.default_rng(2)
    probability = random.uniform(0.2, 0.6, 200_000)
    label = (random.uniform(size=200_000) < probability).astype(float)
    assert calibration_error(label, probability) < 0.005
    assert calibration_error(label, probability + 0.2) == pytest.approx(0.2, abs=0.005)


def test_no_weight_has_no_value():
    assert calibration_error(np.ones(2), np.ones(2), np.zeros(2)).reason == "no observed row"
