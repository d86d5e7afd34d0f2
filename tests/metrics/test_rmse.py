import numpy as np
import pytest
from sklearn.metrics import root_mean_squared_error

from polytask.metrics import rmse


def test_equals_scikit_learn(real):
    label, prediction, weight = real
    assert rmse(label, prediction) == pytest.approx(root_mean_squared_error(label, prediction), rel=1e-9)
    assert rmse(label, prediction, weight) == pytest.approx(
        root_mean_squared_error(label, prediction, sample_weight=weight), rel=1e-9
    )


def test_no_weight_keeps_its_reason(real):
    assert rmse(real.label, real.prediction, np.zeros(len(real.label))).reason == "no observed row"
