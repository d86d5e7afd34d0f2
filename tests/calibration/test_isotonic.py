import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from polytask.calibration import Isotonic

triples = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=40)


def test_equals_scikit_learn_with_ties_and_weights(rows):
    found = Isotonic.fit(rows.label, rows.prediction, rows.weight)
    new = np.linspace(0, 1, 997)
    margin = 0.5 / rows.weight.sum()
    learned = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip")
    learned.fit(rows.prediction.astype(np.float64), rows.label, sample_weight=rows.weight)
    np.testing.assert_allclose(found.apply(new), learned.predict(new), atol=1e-6)


@given(triples)
def test_optimality_of_the_rising_curve(found):
    """In each block of equal values residuals sum to zero; no block could be cut so that its left part wants to be higher."""
    label, level, weight = (np.array(values, dtype=np.float64) for values in zip(*found, strict=True))
    if not weight.any():
        return
    prediction = level / 12
    curve = Isotonic.fit(label, prediction, weight).apply(prediction)
    margin = 0.5 / weight.sum()
    for value in np.unique(curve[weight > 0]):
        rows = (curve == value) & (weight > 0)
        order = np.argsort(prediction[rows], kind="stable")
        residual, total = (weight * (label - value))[rows][order], weight[rows].sum()
        assert abs(residual.sum()) <= margin * total + 1e-9
        last = np.r_[np.diff(prediction[rows][order]) > 0, True]  # a cut parts no ties
        assert (residual.cumsum()[last] >= -margin * total - 1e-9).all()
    assert (np.diff(curve[np.argsort(prediction)]) >= 0).all()


def test_calibrated_rows_sum_to_the_positives(rows):
    found = Isotonic.fit(rows.label, rows.prediction, rows.weight).apply(rows.prediction.astype(np.float64))
    assert rows.weight @ found == pytest.approx(rows.weight @ rows.label, rel=1e-3)


def test_no_label_is_impossible():
    found = Isotonic.fit(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.8, 0.9]))
    assert found.apply(np.array([0.0, 1.0])).tolist() == [0.125, 0.875]
    assert Isotonic.fit(np.array([1.0]), np.array([0.3])).apply(np.array([0.9])).tolist() == [0.5]


def test_a_million_rows_take_no_time():
    random = np.random.default_rng(0)
    prediction = random.uniform(size=1_000_000)
    label = (random.uniform(size=1_000_000) < prediction**2).astype(np.float64)
    started = time.process_time()
    found = Isotonic.fit(label, prediction)
    np.testing.assert_allclose(found.apply(np.array([0.3, 0.7])), [0.09, 0.49], atol=0.02)
    assert time.process_time() - started < 3
