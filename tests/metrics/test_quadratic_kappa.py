import numpy as np
import pytest

from polytask.metrics import quadratic_kappa


def test_equals_its_definition(classes):
    label, prediction, weight = classes
    chosen = (np.cumsum(prediction, axis=1) < 0.5).sum(axis=1)
    seen, chance = np.zeros((4, 4)), np.zeros((4, 4))
    for y, p, w in zip(label.astype(int), chosen, weight, strict=True):
        seen[y, p] += w
    chance = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / seen.sum()
    cost = np.square(np.subtract.outer(np.arange(4), np.arange(4)))
    assert quadratic_kappa(label, prediction, weight) == pytest.approx(1 - (cost * seen).sum() / (cost * chance).sum())


def test_one_level_only_has_no_value():
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert "equal" in quadratic_kappa(np.zeros(2), sure).reason
    assert quadratic_kappa(np.zeros(0), np.zeros((0, 3))).reason == "no observed row"
