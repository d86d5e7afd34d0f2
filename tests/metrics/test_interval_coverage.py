import numpy as np
import pytest

from polytask.metrics import interval_coverage


def test_true_quantiles_cover_what_they_should_and_narrow_ones_less():
    label = np.random.default_rng(0).uniform(size=100_000)
    true, narrow = (np.tile(np.array([[low, 0.5, high]]), (100_000, 1)) for low, high in ((0.1, 0.9), (0.3, 0.9)))
    assert interval_coverage(label, true, levels=(0.1, 0.5, 0.9)) == pytest.approx(0, abs=0.005)
    assert interval_coverage(label, narrow, levels=(0.1, 0.5, 0.9)) == pytest.approx(-0.2, abs=0.005)


def test_weights_and_reasons():
    label, bounds = np.array([0.0, 9.0]), np.array([[-1.0, 1.0], [-1.0, 1.0]])
    assert interval_coverage(label, bounds, np.array([3.0, 1.0]), levels=(0.25, 0.75)) == 0.25
    assert "two levels" in interval_coverage(label, bounds[:, :1], levels=(0.5,)).reason
    assert interval_coverage(label, bounds, np.zeros(2), levels=(0.25, 0.75)).reason == "no observed row"
