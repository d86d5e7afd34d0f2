import pytest
from sklearn.metrics import mean_absolute_error

from polytask.metrics import mae


def test_equals_scikit_learn(real):
    label, prediction, weight = real
    assert mae(label, prediction) == pytest.approx(mean_absolute_error(label, prediction), rel=1e-9)
    assert mae(label, prediction, weight) == pytest.approx(mean_absolute_error(label, prediction, sample_weight=weight), rel=1e-9)
