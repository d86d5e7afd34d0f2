import pytest
from sklearn.metrics import accuracy_score

from polytask.metrics import accuracy


def test_equals_scikit_learn(classes):
    label, prediction, weight = classes
    chosen = prediction.argmax(axis=1)
    assert accuracy(label, prediction) == pytest.approx(accuracy_score(label, chosen))
    assert accuracy(label, prediction, weight) == pytest.approx(accuracy_score(label, chosen, sample_weight=weight))
