import numpy as np
import pytest
from lists import by_group, made, over_orders

from polytask.metrics import mrr


def reciprocal(ranked, k):
    rank = int(np.argmax(ranked > 0)) + 1
    return 1 / rank if rank <= k else 0.0


@pytest.mark.parametrize("k", [None, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_mean_over_all_orders_group_by_group(k, weighted):
    lists = made(graded=True, rows=300, groups=80)

    def slow(label, prediction):
        return over_orders(label, prediction, lambda ranked: reciprocal(ranked, k or 99)) if (label > 0).any() else None

    found = mrr(lists.label, lists.prediction, lists.weight if weighted else None, groups=lists.groups, k=k)
    expected, without = by_group(lists, slow, weighted=weighted)
    assert found == pytest.approx(expected, rel=1e-10)
    assert found.left_out == without > 5


def test_one_tie_has_a_closed_form():
    """One positive anywhere among m tied rows: H_m / m."""
    label = np.r_[1.0, np.zeros(499)]
    expected = (1 / np.arange(1, 501)).mean()
    assert mrr(label, np.zeros(500), groups=np.zeros(500)) == pytest.approx(expected, rel=1e-9)


def test_nothing_to_rank():
    assert mrr(np.zeros(0), np.zeros(0), groups=np.zeros(0)).reason == "no observed row"
    assert mrr(np.zeros(2), np.zeros(2), groups=np.zeros(2)).reason == "no group has a positive row"
