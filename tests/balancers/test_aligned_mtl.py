"""Aligned-MTL: all singular values become the least one."""

import pytest
import torch
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import AlignedMTL
from polytask.testing import check_balancer


def test_contract():
    check_balancer(AlignedMTL, absent_changes_others=True, scale="equivariant")


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_is_the_sum_of_gradients_whose_singular_values_are_the_least_one(tasks):
    rows = jacobian("conflict", tasks)
    u, s, v = torch.linalg.svd(rows, full_matrices=False)
    torch.testing.assert_close(direction(AlignedMTL, rows), s[-1] * (u @ v).sum(0))


def test_two_gradients_of_one_length_by_hand():
    # cos 0.6: singular directions are the sum and the difference, l = 1.6 and 0.4; the sum alone reaches B 1.
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8]]).double()
    assert weigh(AlignedMTL(["a", "b"]), rows).tolist() == pytest.approx([0.5, 0.5])  # sqrt(0.4 / 1.6)


def test_three_orthogonal_gradients_count_as_much_as_the_shortest():
    rows = torch.diag(torch.tensor([4.0, 0.5, 2.0])).double()
    assert weigh(AlignedMTL(NAMES[:3]), rows).tolist() == pytest.approx([0.125, 1.0, 0.25])


def test_only_partly_free_of_units():
    unit = torch.tensor([1.0, 30.0, 1.0]).double()[:, None]

    def turned(rows):
        before, after = direction(AlignedMTL, rows), direction(AlignedMTL, unit * rows)
        return torch.nn.functional.cosine_similarity(before, after, dim=0).item()

    assert turned(torch.diag(torch.tensor([1.0, 2.0, 3.0])).double()) == pytest.approx(1.0)
    assert turned(jacobian("conflict", 3)) < 0.99


def test_gradients_that_say_the_same_leave_what_they_say():
    once = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    found = direction(
        AlignedMTL, torch.cat([once, once[:1]])
    )  # a third task like the first: two directions, of length sqrt(2), 1
    torch.testing.assert_close(found, torch.tensor([2.0 / 2**0.5, 1.0]).double())
