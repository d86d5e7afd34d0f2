import math

import numpy as np
import pytest
from lists import by_group, made, over_orders

from polytask.metrics import find_metric, hit_rate


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_mean_over_all_orders_group_by_group(k, weighted):
    lists = made(graded=False, rows=300, groups=80)

    def slow(label, prediction):
        return over_orders(label, prediction, lambda ranked: float((ranked[:k] > 0).any())) if (label > 0).any() else None

    found = hit_rate(lists.label, lists.prediction, lists.weight if weighted else None, groups=lists.groups, k=k)
    expected, without = by_group(lists, slow, weighted=weighted)
    assert found == pytest.approx(expected, rel=1e-10)
    assert found.left_out == without > 5
    assert find_metric(f"hit_rate@{k}").function(lists.label, lists.prediction, groups=lists.groups) == hit_rate(
        lists.label, lists.prediction, groups=lists.groups, k=k
    )


def test_one_tie_is_hypergeometric():
    label = np.r_[np.ones(3), np.zeros(37)]
    expected = 1 - math.comb(37, 5) / math.comb(40, 5)
    assert hit_rate(label, np.full(40, 0.3), groups=np.zeros(40), k=5) == pytest.approx(expected, rel=1e-10)


def test_nothing_to_rank():
    assert hit_rate(np.zeros(0), np.zeros(0), groups=np.zeros(0)).reason == "no observed row"
    assert hit_rate(np.zeros(2), np.zeros(2), groups=np.zeros(2)).reason == "no group has a positive row"
