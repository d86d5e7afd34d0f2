import numpy as np
import pytest
from lists import by_group, made, over_orders
from sklearn.metrics import ndcg_score

from polytask.metrics import ndcg


def reference(k):
    def value(label, prediction):
        if not (label > 0).any():
            return None
        return 1.0 if len(label) == 1 else ndcg_score([label], [prediction], k=k)  # scikit-learn refuses a list of one row

    return value


@pytest.mark.parametrize("k", [None, 1, 3, 50])
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn_group_by_group(graded, k, weighted):
    lists = made(graded=graded)
    found = ndcg(lists.label, lists.prediction, lists.weight if weighted else None, groups=lists.groups, k=k)
    expected, without = by_group(lists, reference(k), weighted=weighted)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found.left_out == without > 5
    assert str(without) in found.note


def test_a_tie_is_the_mean_over_its_orders():
    label, prediction = np.array([0.0, 2.0, 1.0, 0.0, 1.0]), np.array([0.7, 0.4, 0.4, 0.4, 0.1])
    discounts = 1 / np.log2(np.arange(5) + 2.0) * [1, 1, 1, 0, 0]
    expected = over_orders(label, prediction, lambda ranked: ranked @ discounts) / (np.array([2, 1, 1, 0, 0]) @ discounts)
    assert ndcg(label, prediction, groups=np.zeros(5), k=3) == pytest.approx(expected, rel=1e-12)


def test_the_lists_do_not_mix_and_names_of_groups_do_not_matter():
    lists = made(graded=True)
    found = ndcg(lists.label, lists.prediction, groups=lists.groups)
    shifted = lists.prediction + 3.0 * lists.groups
    assert ndcg(lists.label, shifted.round(1), groups=lists.groups) == pytest.approx(found, rel=1e-12)
    assert ndcg(lists.label, lists.prediction, groups=lists.groups.astype(str)) == pytest.approx(found, rel=1e-12)


def test_perfect_and_reversed():
    label = np.array([3.0, 0.0, 1.0])
    assert ndcg(label, label, groups=np.zeros(3)) == 1.0
    worst = (1 / np.log2(3) + 3 / np.log2(4)) / (3 + 1 / np.log2(3))
    assert ndcg(label, -label, groups=np.zeros(3)) == pytest.approx(worst, rel=1e-12)


def test_what_has_no_value_says_why():
    nothing = np.zeros(0)
    assert ndcg(nothing, nothing, groups=nothing).reason == "no observed row"
    assert ndcg(np.zeros(2), np.zeros(2), groups=np.zeros(2)).reason == "no group has a positive row"
    assert ndcg(np.array([1.0, -0.5]), np.zeros(2), groups=np.zeros(2)).reason == "a gain is below 0"
    assert ndcg(np.array([1e6, -1e-3]), np.array([1.0, 0.0]), groups=np.zeros(2)) == 1.0  # of a label in float32


def test_a_long_log_has_no_loop_over_groups():
    """Work is counted, not time: twice the groups on the same rows call NumPy equally often."""
    import sys

    def calls(groups):
        random = np.random.default_rng(0)
        label, prediction = (random.random(4000) < 0.2).astype(float), random.random(4000)
        count = 0

        def see(frame, event, _):
            nonlocal count
            count += event in ("call", "c_call")

        group = random.integers(0, groups, 4000)
        sys.setprofile(see)
        try:
            ndcg(label, prediction, groups=group)
        finally:
            sys.setprofile(None)
        return count

    assert calls(1000) <= calls(10) + 5
