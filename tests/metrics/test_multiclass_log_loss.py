import pytest
from sklearn.metrics import log_loss

from polytask.metrics import multiclass_log_loss


def test_equals_scikit_learn(classes):
    label, prediction, weight = classes
    known = [0, 1, 2, 3]
    assert multiclass_log_loss(label, prediction) == pytest.approx(log_loss(label, prediction, labels=known))
    assert multiclass_log_loss(label, prediction, weight) == pytest.approx(
        log_loss(label, prediction, labels=known, sample_weight=weight)
    )
