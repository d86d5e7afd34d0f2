import numpy as np
import pytest
from sklearn.metrics import mean_poisson_deviance

from polytask.metrics import poisson_deviance


def test_equals_scikit_learn(counts):
    label, prediction, weight = counts
    assert poisson_deviance(label, prediction) == pytest.approx(mean_poisson_deviance(label, prediction), rel=1e-9)
    assert poisson_deviance(label, prediction, weight) == pytest.approx(
        mean_poisson_deviance(label, prediction, sample_weight=weight), rel=1e-9
    )


def test_a_rate_of_zero_has_no_value():
    assert "not above 0" in poisson_deviance(np.array([0.0]), np.array([0.0])).reason
