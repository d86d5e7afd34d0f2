import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from polytask.metrics import auc


def test_equals_scikit_learn(binary):
    label, prediction, weight = binary
    assert auc(label, prediction) == pytest.approx(roc_auc_score(label, prediction), rel=1e-9)
    assert auc(label, prediction, weight) == pytest.approx(roc_auc_score(label, prediction, sample_weight=weight), rel=1e-9)


def test_ties_count_half_and_order_of_rows_does_not_matter(binary):
    label, prediction, weight = binary
    order = np.random.default_rng(5).permutation(len(label))
    assert auc(label[order], prediction[order], weight[order]) == pytest.approx(auc(label, prediction, weight), rel=1e-12)
    assert auc(label, np.zeros_like(prediction)) == 0.5
    assert auc(label, prediction, np.full(len(label), 2.0)) == pytest.approx(auc(label, prediction), rel=1e-12)
    assert auc(label, -prediction) == pytest.approx(1 - auc(label, prediction), rel=1e-12)


@pytest.mark.parametrize("label", [[0.0, 0.0], [1.0, 1.0], []])
def test_one_class_has_no_value_and_says_so(label):
    value = auc(np.array(label), np.linspace(0, 1, len(label)))
    assert math.isnan(value)
    assert "one class" in value.reason
