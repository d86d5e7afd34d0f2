import numpy as np
import pytest

from polytask.metrics import log_loss, normalised_entropy


def test_the_base_rate_alone_is_one(binary):
    label, prediction, weight = binary
    rate = np.average(label, weights=weight)
    assert normalised_entropy(label, np.full(len(label), rate), weight) == pytest.approx(1, rel=1e-6)
    base = log_loss(label, np.full(len(label), label.mean(dtype=np.float64)))
    assert normalised_entropy(label, prediction) == pytest.approx(log_loss(label, prediction) / base, rel=1e-6)


def test_one_class_has_no_value():
    assert "one class" in normalised_entropy(np.ones(3), np.full(3, 0.5)).reason
