import numpy as np
import pandas as pd
import pytest

from polytask.metrics import decile_error, equal_mass_bins


def test_equals_pandas_on_distinct_predictions():
    random = np.random.default_rng(0)
    prediction = random.gamma(1.0, 20.0, 1000)
    label = np.where(random.uniform(size=1000) < 0.3, random.gamma(1.0, 60.0, 1000), 0.0)
    tenths = pd.DataFrame({"label": label, "prediction": prediction}).groupby(pd.qcut(prediction, 10)).mean()
    expected = (tenths["prediction"] / tenths["label"] - 1).abs().mean()
    assert decile_error(label, prediction) == pytest.approx(expected, rel=1e-12)
    assert decile_error(label, prediction, np.full(1000, 0.3)) == pytest.approx(expected, rel=1e-12)


def test_is_the_factor_by_which_all_are_wrong():
    random = np.random.default_rng(1)
    level = np.repeat(random.gamma(1.0, 5.0, 50), 20)  # in each level, labels have its mean
    label = level * np.tile([0.0, 2.0], 500)
    assert decile_error(label, level) == pytest.approx(0, abs=1e-9)
    assert decile_error(label, 1.25 * level) == pytest.approx(0.25)


def test_bins_without_amounts_are_left_out():
    assert decile_error(np.array([0.0, 2.0]), np.array([0.5, 3.0])) == pytest.approx(0.5)
    assert "no positive" in decile_error(np.zeros(2), np.ones(2)).reason
    assert decile_error(np.zeros(0), np.zeros(0)).reason == "no observed row"


def test_bins_have_equal_mass_and_keep_ties_together():
    prediction, weight = np.array([0.3, 0.1, 0.2, 0.2, 0.9, 0.8]), np.array([1.0, 1.0, 0.5, 0.5, 2.0, 1.0])
    bins = equal_mass_bins(prediction, weight, 3)
    assert bins.tolist() == [1, 0, 0, 0, 2, 1]
    assert np.bincount(bins, weight).tolist() == [2.0, 2.0, 2.0]
