import numpy as np
import pytest
from miscalibrated import wrong
from scipy.optimize import minimize_scalar

from polytask.calibration import Temperature


def classes(rows, seed=0):
    """Probabilities that are too sure by a factor of 2 in their logits."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 4)) * [2.0, 1.0, 1.5, 0.5] + [1.0, 0.0, -0.5, 0.2]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (random.uniform(size=(rows, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    sure = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    return label.astype(np.float32), sure


def test_optimality_of_a_binary_task(rows):
    """Residuals are orthogonal to the log-odds."""
    found = Temperature.fit(rows.label, rows.prediction, rows.weight)
    odds = np.log(rows.prediction.astype(np.float64)) - np.log1p(-rows.prediction.astype(np.float64))
    calibrated = 1 / (1 + np.exp(-odds / found.temperature))
    assert abs(rows.weight @ ((calibrated - rows.label) * odds)) < 1e-5 * abs(rows.weight @ odds)
    np.testing.assert_allclose(found.apply(rows.prediction), calibrated, rtol=1e-6)


def test_optimality_of_a_multiclass_task():
    """Expected logit equals the logit of the label, on average."""
    label, prediction = classes(2000)
    weight = np.random.default_rng(1).uniform(0.1, 3.0, 2000)
    logits = np.log(prediction)
    calibrated = Temperature.fit(label, prediction, weight).apply(prediction)
    gap = weight @ ((calibrated * logits).sum(1) - logits[np.arange(2000), label.astype(int)])
    assert abs(gap) < 1e-6 * weight.sum()
    np.testing.assert_allclose(calibrated.sum(1), 1)
    assert (calibrated.argmax(1) == prediction.argmax(1)).all()


def test_equals_a_search_over_temperatures(rows):
    def loss(temperature):
        odds = np.log(rows.prediction.astype(np.float64)) - np.log1p(-rows.prediction.astype(np.float64))
        return rows.weight @ (np.logaddexp(0, odds / temperature) - rows.label * odds / temperature)

    searched = minimize_scalar(loss, bounds=(0.2, 10), method="bounded", options={"xatol": 1e-10}).x
    assert Temperature.fit(rows.label, rows.prediction, rows.weight).temperature == pytest.approx(searched, rel=1e-5)


def test_finds_the_factor_it_was_made_with():
    label, prediction = classes(60_000)
    assert Temperature.fit(label, prediction).temperature == pytest.approx(2.0, rel=0.03)
    found = wrong(60_000, slope=0.5, offset=0.0)
    assert Temperature.fit(found.label, found.prediction).temperature == pytest.approx(2.0, rel=0.03)


def test_two_classes_are_a_binary_task(rows):
    both = np.stack([1 - rows.prediction, rows.prediction], axis=1)
    one, two = Temperature.fit(rows.label, rows.prediction), Temperature.fit(rows.label, both)
    assert one.temperature == pytest.approx(two.temperature, rel=1e-4)


@pytest.mark.parametrize(("label", "low", "high"), [([0.0, 0.0, 1.0, 1.0], 0.01, 0.05), ([1.0, 1.0, 0.0, 0.0], 100.0, 100.0)])
def test_labels_parted_without_a_mistake_stay_finite(label, low, high):
    found = Temperature.fit(np.array(label), np.array([0.1, 0.2, 0.8, 0.9]))
    assert low <= found.temperature <= high
    assert np.isfinite(found.apply(np.array([0.0, 0.5, 1.0], dtype=np.float32))).all()
