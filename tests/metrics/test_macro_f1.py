import pytest
from sklearn.metrics import f1_score

from polytask.metrics import macro_f1


def test_equals_scikit_learn(classes):
    label, prediction, weight = classes
    chosen = prediction.argmax(axis=1)
    assert macro_f1(label, prediction) == pytest.approx(f1_score(label, chosen, average="macro"))
    assert macro_f1(label, prediction, weight) == pytest.approx(f1_score(label, chosen, average="macro", sample_weight=weight))


def test_a_class_that_is_neither_seen_nor_predicted_does_not_count():
    import numpy as np

    prediction = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    assert macro_f1(np.array([0.0, 1.0]), prediction) == 1.0
    assert macro_f1(np.zeros(0), np.zeros((0, 3))).reason == "no observed row"
