import numpy as np
import pytest
from scipy.stats import spearmanr

from polytask.metrics import spearman


def test_equals_scipy_with_ties(real):
    label, prediction, _ = real
    prediction = prediction.round(0)
    assert spearman(label, prediction) == pytest.approx(spearmanr(label, prediction).statistic, rel=1e-12)
    assert spearman(label, prediction, np.full(len(label), 2.5)) == pytest.approx(spearman(label, prediction), rel=1e-12)


def test_sees_order_only(real):
    label, prediction, weight = real
    assert spearman(label, np.exp(prediction), weight) == pytest.approx(spearman(label, prediction, weight), rel=1e-12)


def test_constant_predictions_have_no_value(real):
    assert "equal" in spearman(real.label, np.ones(len(real.label))).reason
    assert spearman(np.zeros(0), np.zeros(0)).reason == "no observed row"
