import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from polytask.metrics import average_precision


def test_equals_scikit_learn(binary):
    label, prediction, weight = binary
    assert average_precision(label, prediction) == pytest.approx(average_precision_score(label, prediction), rel=1e-9)
    assert average_precision(label, prediction, weight) == pytest.approx(
        average_precision_score(label, prediction, sample_weight=weight), rel=1e-9
    )


def test_needs_a_positive():
    value = average_precision(np.zeros(3), np.array([0.1, 0.2, 0.3]))
    assert math.isnan(value)
    assert "no positive" in value.reason
