import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from polytask.metrics import auc, grouped_auc


def slow(label, prediction, weight, groups):
    areas, masses = [], []
    for group in np.unique(groups):
        rows = (groups == group) & (weight > 0)
        if len(set(label[rows])) == 2:
            areas.append(roc_auc_score(label[rows], prediction[rows], sample_weight=weight[rows]))
            masses.append(weight[rows].sum())
    return np.average(areas, weights=masses)


def test_equals_a_loop_over_groups(binary):
    label, prediction, weight = binary
    groups = np.random.default_rng(7).integers(0, 60, len(label))
    assert grouped_auc(label, prediction, groups=groups) == pytest.approx(slow(label, prediction, np.ones(400), groups))
    assert grouped_auc(label, prediction, weight, groups=groups) == pytest.approx(slow(label, prediction, weight, groups))


def test_groups_may_be_text_and_shifts_of_a_group_do_not_matter(binary):
    label, prediction, _ = binary
    groups = np.arange(len(label)) % 7
    names = np.array([f"user {group}" for group in groups])
    shifted = prediction + 10 * groups.astype(prediction.dtype)
    found = grouped_auc(label, prediction, groups=groups)
    assert grouped_auc(label, prediction, groups=names) == pytest.approx(found, rel=1e-12)
    assert grouped_auc(label, shifted.astype(np.float64).round(2), groups=groups) == pytest.approx(found, rel=1e-3)
    assert auc(label, shifted) != pytest.approx(auc(label, prediction), rel=1e-2)


def test_one_group_is_the_plain_metric(binary):
    label, prediction, weight = binary
    assert grouped_auc(label, prediction, weight, groups=np.zeros(400)) == pytest.approx(
        auc(label, prediction, weight), rel=1e-12
    )


def test_a_group_weighs_its_impressions_and_those_of_one_class_are_counted():
    label = np.array([1, 0, 0, 0, 0, 1, 1, 0, 1, 1.0])
    prediction = np.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.1, 0.9, 0.1, 0.1])
    groups = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])
    value = grouped_auc(label, prediction, groups=groups)
    assert value == pytest.approx((6 * 1.0 + 2 * 0.0) / 8)
    assert value.note == "1 of 3 groups with one class only are left out"
    clicks_alone = (2 * 1.0 + 1 * 0.0) / 3
    assert value != pytest.approx(clicks_alone)


def test_no_group_with_both_classes_has_no_value():
    value = grouped_auc(np.array([0.0, 1.0]), np.array([0.1, 0.2]), groups=np.array([0, 1]))
    assert math.isnan(value)
    assert "every group" in value.reason
    assert grouped_auc(np.zeros(0), np.zeros(0), groups=np.zeros(0)).reason == "no observed row"
