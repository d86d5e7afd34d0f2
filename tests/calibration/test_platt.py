import numpy as np
import pytest
from miscalibrated import wrong
from sklearn.linear_model import LogisticRegression

from polytask.calibration import Platt
from polytask.metrics import calibration_error


def targets(label, weight):
    ones, zeros = weight @ label, weight @ (1 - label)
    return np.where(label == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))


def odds_of(prediction):
    prediction = prediction.astype(np.float64)
    return np.log(prediction) - np.log1p(-prediction)


def test_optimality(rows):
    """Residuals from Platt's targets sum to zero and are orthogonal to the log-odds."""
    found = Platt.fit(rows.label, rows.prediction, rows.weight)
    odds = odds_of(rows.prediction)
    residual = rows.weight * (1 / (1 + np.exp(-(found.slope * odds + found.offset))) - targets(rows.label, rows.weight))
    assert abs(residual.sum()) < 1e-6 * rows.weight.sum()
    assert abs(residual @ odds) < 1e-6 * rows.weight.sum()
    np.testing.assert_allclose(
        found.apply(rows.prediction).mean(), (rows.label * rows.weight).sum() / rows.weight.sum(), atol=0.03
    )


def test_equals_scikit_learn_on_many_rows():
    """Without smoothing of the targets, which is nothing here."""
    found = wrong(100_000, slope=0.6, offset=-0.8, dtype=np.float64)
    odds = odds_of(found.prediction)[:, None]
    expected = LogisticRegression(C=np.inf, tol=1e-8).fit(odds, found.label, sample_weight=found.weight)
    mine = Platt.fit(found.label, found.prediction, found.weight)
    assert mine.slope == pytest.approx(expected.coef_[0, 0], rel=1e-3)
    assert mine.offset == pytest.approx(expected.intercept_[0], rel=1e-3)


def test_finds_the_line_it_was_made_with_and_makes_the_error_smaller():
    found, new = wrong(50_000, slope=0.6, offset=-0.8), wrong(50_000, slope=0.6, offset=-0.8, seed=1)
    line = Platt.fit(found.label, found.prediction)
    assert (line.slope, line.offset) == (pytest.approx(0.6, abs=0.03), pytest.approx(-0.8, abs=0.05))
    assert calibration_error(new.label, new.prediction) > 0.05
    assert calibration_error(new.label, line.apply(new.prediction)) < 0.01


def test_order_stays_and_is_never_turned_round(rows):
    line = Platt.fit(rows.label, rows.prediction, rows.weight)
    assert (np.diff(line.apply(np.sort(rows.prediction))) >= 0).all()
    turned = Platt.fit(1 - rows.label, rows.prediction, rows.weight)
    target = targets(1 - rows.label, rows.weight)
    assert turned.slope == 0
    assert turned.apply(rows.prediction)[0] == pytest.approx(rows.weight @ target / rows.weight.sum(), rel=1e-5)


@pytest.mark.parametrize("label", [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
def test_labels_without_a_mistake_or_of_one_class_stay_finite(label):
    label, prediction = np.array(label), np.array([0.1, 0.2, 0.8, 0.9])
    line = Platt.fit(label, prediction)
    assert np.isfinite([line.slope, line.offset]).all()
    assert 0 < line.apply(prediction).min() <= line.apply(prediction).max() < 1


def test_equal_predictions_move_to_the_rate():
    line = Platt.fit(np.array([1.0, 0.0, 0.0, 0.0] * 100), np.full(400, 0.5))
    assert line.apply(np.array([0.5]))[0] == pytest.approx(0.25, abs=0.01)
