"""ConFIG: the same angle to every gradient."""

import pytest
import torch
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import ConFIG
from polytask.testing import check_balancer


def test_contract():
    check_balancer(ConFIG, absent_changes_others=True, scale="invariant", conflict_free=True)


@pytest.mark.parametrize("kind", ["conflict", "aligned", "lengths"])
@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_all_angles_are_the_same_and_its_length_is_that_of_all_projections(kind, tasks):
    rows = jacobian(kind, tasks)
    found = direction(ConFIG, rows)
    angles = rows @ found / rows.norm(dim=1) / found.norm()
    torch.testing.assert_close(angles, angles[0].expand(tasks), rtol=1e-6, atol=1e-6)
    assert angles[0] > 0
    assert found.norm().item() == pytest.approx((rows @ found).sum().item() / found.norm().item())


def test_two_tasks_by_the_form_without_an_inverse():
    g, h = torch.tensor([2.0, 0.0, 1.0]).double(), torch.tensor([-0.3, 0.5, 0.1]).double()
    across = [h - (h @ g) / (g @ g) * g, g - (g @ h) / (h @ h) * h]  # what is orthogonal to the other one
    best = sum(vector / vector.norm() for vector in across)
    best = best / best.norm()
    torch.testing.assert_close(direction(ConFIG, torch.stack([g, h])), (g @ best + h @ best) * best)


def test_three_tasks_by_the_pseudoinverse():
    rows = jacobian("conflict", 3)
    best = torch.linalg.pinv(rows / rows.norm(dim=1, keepdim=True)).sum(1)
    best = best / best.norm()
    torch.testing.assert_close(direction(ConFIG, rows), (rows @ best).sum() * best)


def test_a_longer_gradient_makes_the_step_longer_and_does_not_turn_it():
    rows = jacobian("conflict", 3)
    one, other = direction(ConFIG, rows), direction(ConFIG, torch.tensor([1.0, 1.0, 50.0]).double()[:, None] * rows)
    torch.testing.assert_close(one / one.norm(), other / other.norm())
    assert other.norm() > one.norm()


def test_exactly_opposite_gradients_have_no_such_direction():
    assert not weigh(ConFIG(NAMES[:2]), [[1.0, 2.0], [-3.0, -6.0]]).any()
