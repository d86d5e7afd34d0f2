import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from polytask.metrics import normalised_gini


def test_is_two_auc_less_one_for_zeros_and_ones(binary):
    label, prediction, weight = binary
    assert normalised_gini(label, prediction) == pytest.approx(2 * roc_auc_score(label, prediction) - 1, rel=1e-12)
    expected = 2 * roc_auc_score(label, prediction, sample_weight=weight) - 1
    assert normalised_gini(label, prediction, weight) == pytest.approx(expected, rel=1e-12)


def test_by_hand():
    """Amounts 1 and 4 in three rows, the order of predictions is 0, 4, 1: the curve is 0, 0.8, 1 at thirds.

    The area below it is (0 + 0.4 + 0.9) / 3, below that of the right order (0, 0.2, 1) it is (0 + 0.1 + 0.6) / 3.
    """
    found = normalised_gini(np.array([4.0, 0.0, 1.0]), np.array([0.2, 0.1, 0.3]))
    assert found == pytest.approx((1 - 2 * 1.3 / 3) / (1 - 2 * 0.7 / 3))


def test_sees_order_and_sizes_only(counts):
    label, prediction, weight = counts
    found = normalised_gini(label, prediction, weight)
    assert 0 < found < 1
    assert normalised_gini(7 * label, np.exp(prediction), weight) == pytest.approx(found, rel=1e-9)
    assert normalised_gini(label, label, weight) == pytest.approx(1)
    assert normalised_gini(label, -label, weight) == pytest.approx(-1)
    assert normalised_gini(label[::-1], prediction[::-1], weight[::-1]) == pytest.approx(found, rel=1e-9)


def test_a_weight_counts_rows(counts):
    label, prediction, _ = counts
    times = np.arange(len(label)) % 3
    expected = normalised_gini(label.repeat(times), prediction.repeat(times))
    assert normalised_gini(label, prediction, times.astype(float)) == pytest.approx(expected, rel=1e-9)


def test_where_it_is_not_defined():
    assert "equal" in normalised_gini(np.ones(3), np.arange(3.0)).reason
    assert "below 0" in normalised_gini(np.array([1.0, -1.0]), np.arange(2.0)).reason
    assert normalised_gini(np.zeros(0), np.zeros(0)).reason == "no observed row"
