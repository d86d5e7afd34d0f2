import numpy as np
import pytest
from lists import made, over_orders

from polytask.metrics import value_per_impression


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_a_loop_over_groups_and_orders(k, weighted):
    lists = made(graded=True, rows=250, groups=70)
    weight = lists.weight if weighted else np.ones(len(lists.label))
    value, shown = 0.0, 0.0
    for group in np.unique(lists.groups[weight > 0]):
        rows = (lists.groups == group) & (weight > 0)
        mass = weight[rows].mean()
        value += mass * over_orders(lists.label[rows], lists.prediction[rows], lambda ranked: ranked[:k].sum())
        shown += mass * min(k, rows.sum())
    found = value_per_impression(lists.label, lists.prediction, weight if weighted else None, groups=lists.groups, k=k)
    assert found == pytest.approx(value / shown, rel=1e-12)


def test_all_rows_shown_is_the_mean_and_losses_count():
    label, groups = np.array([3.0, -1.0, 0.5, 2.0]), np.array([0, 0, 1, 1])
    assert value_per_impression(label, np.zeros(4), groups=groups, k=9) == pytest.approx(label.mean())
    assert value_per_impression(label, np.array([0.1, 0.2, 0.3, 0.1]), groups=groups) == pytest.approx((-1.0 + 0.5) / 2)
    assert value_per_impression(np.zeros(0), np.zeros(0), groups=np.zeros(0)).reason == "no observed row"
