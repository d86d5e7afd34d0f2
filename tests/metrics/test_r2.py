import numpy as np
import pytest
from sklearn.metrics import r2_score

from polytask.metrics import r2


def test_equals_scikit_learn(real):
    label, prediction, weight = real
    assert r2(label, prediction) == pytest.approx(r2_score(label, prediction), rel=1e-9)
    assert r2(label, prediction, weight) == pytest.approx(r2_score(label, prediction, sample_weight=weight), rel=1e-9)


def test_is_zero_for_the_mean_and_undefined_for_one_value(real):
    assert r2(real.label, np.full(len(real.label), real.label.mean())) == pytest.approx(0, abs=1e-12)
    assert r2(np.ones(3), np.zeros(3)).reason == "all labels are equal"
    assert r2(np.zeros(0), np.zeros(0)).reason == "no observed row"
