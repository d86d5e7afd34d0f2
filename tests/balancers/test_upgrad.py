"""UPGrad: each gradient projected onto the directions that harm no task."""

import pytest
import torch
from scipy.optimize import nnls
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import UPGrad
from polytask.testing import check_balancer


def test_contract():
    check_balancer(UPGrad, absent_changes_others=True, scale="equivariant", conflict_free=True)


def projected(vector, rows):
    """Onto the dual cone of the rows: what is added to a vector is a sum of rows with weights of 0 or more."""
    added, _ = nnls(rows.T.numpy(), -vector.numpy(), maxiter=1000)
    return vector + torch.tensor(added) @ rows


@pytest.mark.parametrize("kind", ["conflict", "dependent"])
@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_is_the_sum_of_projections(kind, tasks):
    rows = jacobian(kind, tasks)
    wanted = sum(projected(row, rows) for row in rows)
    torch.testing.assert_close(direction(UPGrad, rows), wanted, rtol=1e-6, atol=1e-7)


def test_two_tasks_by_hand():
    rows = torch.tensor([[2.0, 0.0], [-1.0, 1.0]]).double()
    # Each loses what is against the other, as with PCGrad: g + (2 / 2) h, and h + (2 / 4) g.
    assert weigh(UPGrad(["a", "b"]), rows).tolist() == pytest.approx([1.5, 2.0])
    assert weigh(UPGrad(["a", "b"]), rows.abs()).tolist() == pytest.approx([1.0, 1.0])


def test_the_value_that_torchjd_states():
    rows = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]).double()
    assert (direction(UPGrad, rows) / 2).tolist() == pytest.approx(
        [0.2929, 1.9004, 1.9004], abs=1e-3
    )  # that has 1e-4 on G's diagonal


def test_small_gradients_are_no_excuse_for_a_conflict():
    """Others fall back to the mean gradient below a length of 0.01."""
    rows = 1e-6 * torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]).double()
    assert (rows @ rows.sum(0)).min() < 0
    torch.testing.assert_close(direction(UPGrad, rows) * 1e6, direction(UPGrad, 1e6 * rows))


def test_three_tasks_of_which_one_conflicts_with_both():
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, -1.0, 1.0]]).double()
    # e1 and e2 lose their part along the third; the third loses its parts along both.
    found = direction(UPGrad, rows)
    assert (rows @ found).min() >= -1e-12
    torch.testing.assert_close(found, sum(projected(row, rows) for row in rows))
    assert NAMES[:3] == UPGrad(NAMES[:3]).tasks
