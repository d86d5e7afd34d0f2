import pytest
from sklearn.metrics import brier_score_loss

from polytask.metrics import brier


def test_equals_scikit_learn(binary):
    label, prediction, weight = binary
    assert brier(label, prediction) == pytest.approx(brier_score_loss(label, prediction), rel=1e-6)
    assert brier(label, prediction, weight) == pytest.approx(brier_score_loss(label, prediction, sample_weight=weight), rel=1e-6)
