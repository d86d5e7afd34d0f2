"""IMTL-G: equal projections, also where the published weights would climb."""

import pytest
import torch
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import IMTLG
from polytask.testing import check_balancer


def test_contract():
    check_balancer(IMTLG, absent_changes_others=True, scale="invariant", conflict_free=True)


@pytest.mark.parametrize("kind", ["conflict", "aligned"])
@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_projections_onto_all_gradients_are_equal_and_positive(kind, tasks):
    for seed in range(5):
        rows = jacobian(kind, tasks, seed)
        weights = weigh(IMTLG(NAMES[:tasks]), rows)
        projections = rows @ (weights @ rows) / rows.norm(dim=1)
        torch.testing.assert_close(projections, projections[0].expand(tasks), rtol=1e-8, atol=1e-8 * weights.abs().max().item())
        assert projections.min() > 0
        assert weights.sum().abs().item() == pytest.approx(tasks)


def test_two_tasks_weigh_the_inverse_of_their_lengths():
    rows = torch.tensor([[3.0, 0.0], [0.6 * 0.5, 0.8 * 0.5]]).double()
    assert weigh(IMTLG(["a", "b"]), rows).tolist() == pytest.approx([2 * (1 / 3) / (1 / 3 + 2), 2 * 2 / (1 / 3 + 2)])


def test_three_tasks_by_the_form_of_the_paper():
    """`a = g_1 U' (D U')^-1` for the others, from differences to the first task, as in eq. 6."""
    rows = jacobian("aligned", 3)
    units = rows / rows.norm(dim=1, keepdim=True)
    d, u = rows[:1] - rows[1:], units[:1] - units[1:]
    others = rows[0] @ u.T @ torch.linalg.inv(d @ u.T)
    wanted = 3 * torch.cat([1 - others.sum()[None], others])
    torch.testing.assert_close(weigh(IMTLG(NAMES[:3]), rows), wanted)


def test_where_weights_would_sum_to_less_than_zero_the_direction_is_turned_round():
    cosines = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.6], [0.0, 0.6, 1.0]]) * 1.0
    cosines[0, 1] = cosines[1, 0] = cosines[1, 2] = cosines[2, 1] = 0.7
    rows = torch.linalg.cholesky(cosines.double()) * torch.tensor([1.0, 0.01, 1.0]).double()[:, None]
    v = torch.linalg.inv(rows @ rows.T) @ rows.norm(dim=1)
    assert v.sum() < 0  # as published: d = v J / sum(v) harms every task
    assert (rows @ direction(IMTLG, rows)).min() > 0
    assert weigh(IMTLG(NAMES[:3]), rows).sum().item() == pytest.approx(-3.0)
