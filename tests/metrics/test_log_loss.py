import math

import numpy as np
import pytest
from sklearn.metrics import log_loss as reference

from polytask.metrics import log_loss


def test_equals_scikit_learn(binary):
    label, prediction, weight = binary
    assert log_loss(label, prediction) == pytest.approx(reference(label, prediction), rel=1e-6)
    assert log_loss(label, prediction, weight) == pytest.approx(reference(label, prediction, sample_weight=weight), rel=1e-6)


def test_a_confident_mistake_is_finite():
    assert log_loss(np.array([0.0]), np.array([1.0])) == pytest.approx(-math.log(np.finfo(np.float64).eps))
    assert log_loss(np.array([0.0]), np.array([1.0], dtype=np.float32)) == pytest.approx(-math.log(np.finfo(np.float32).eps))
