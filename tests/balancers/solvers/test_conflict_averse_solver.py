"""CAGrad's direction, against weak duality: no better direction can exist than the bound that w proves."""

import math

import pytest
import torch
from gramians import KINDS, SIZES, jacobian
from scipy.optimize import minimize_scalar

from polytask.balancers.solvers import conflict_averse_weights, dual_cone_weights


def check_best(rows, c, weights):
    """d is in the ball, and `min_i <g_i, d>` reaches the bound `F(w) = <g_w, g_0> + c ||g_0|| ||g_w||`."""
    units = rows / rows.norm(dim=1).max()
    added, mean = weights - 1 / len(rows), units.mean(0)
    assert float(added.min()) >= 0.0
    assert float((added @ units).norm()) <= c * float(mean.norm()) * (1 + 1e-8)
    w = added / added.sum()
    bound = float(w @ units @ mean + c * mean.norm() * (w @ units).norm())
    reached = units @ (weights @ units)
    relative = units.norm(dim=1) * float(mean.norm()) * (1 + c)
    assert bool((reached - bound >= -1e-9 * relative).all())


@pytest.mark.parametrize("kind", ["conflict", "aligned", "lengths"])
@pytest.mark.parametrize("tasks", SIZES)
@pytest.mark.parametrize("c", [0.1, 0.5, 1.0, 3.0])
def test_the_direction_reaches_its_bound(kind, tasks, c):
    rows = jacobian(kind, tasks)
    check_best(rows, c, conflict_averse_weights(rows @ rows.mT, c))


@pytest.mark.parametrize("kind", ["dependent", "stationary", "ill"])
@pytest.mark.parametrize("tasks", [3, 8, 32])
def test_a_small_ball_around_the_mean_of_dependent_gradients(kind, tasks):
    rows = jacobian(kind, tasks)
    check_best(rows, 0.2, conflict_averse_weights(rows @ rows.mT, 0.2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_ball_that_reaches_the_cone_harms_no_task(kind):
    rows = jacobian(kind, 8)
    direction = conflict_averse_weights(rows @ rows.mT, 1.0) @ rows
    scale = rows.norm(dim=1) * rows.mean(0).norm()
    assert bool((rows @ direction >= -1e-9 * scale).all())


def test_where_no_direction_helps_all_it_is_the_mean_projected_onto_the_cone():
    rows = torch.tensor([[1.0, 0.0, 0.3], [-2.0, 0.0, -0.6], [0.0, 1.0, 0.0]], dtype=torch.float64)
    mean = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    projected = dual_cone_weights(rows @ rows.mT, mean)[0] @ rows
    torch.testing.assert_close(conflict_averse_weights(rows @ rows.mT, 1.5) @ rows, projected)
    assert float(projected.norm()) > 0.1


@pytest.mark.parametrize("c", [0.2, 0.9, 2.0])
def test_two_tasks_against_a_search_on_the_segment(c):
    rows = torch.tensor([[1.0, 2.0, 0.0], [-0.5, 0.2, 0.1]], dtype=torch.float64)
    mean = rows.mean(0)

    def bound(share):
        mixed = share * rows[0] + (1 - share) * rows[1]
        return float(mixed @ mean + c * mean.norm() * mixed.norm())

    least = minimize_scalar(bound, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-12})
    reached = rows @ (conflict_averse_weights(rows @ rows.mT, c) @ rows)
    assert float(reached.min()) == pytest.approx(least.fun, rel=1e-8)


def test_a_zero_gradient_a_zero_mean_and_a_ball_of_nothing():
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    rows = torch.tensor([[1.0, 0.5], [0.0, 0.0], [-0.2, 1.0]], dtype=torch.float64)
    weights = conflict_averse_weights(rows @ rows.mT, 0.5)
    assert float(weights[1]) == pytest.approx(1 / 3)
    assert float((rows @ (weights @ rows))[[0, 2]].min()) > float((rows @ rows.mean(0))[[0, 2]].min())
    opposite = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=torch.float64)
    assert float((conflict_averse_weights(opposite @ opposite.mT, 0.5) @ opposite).norm()) < 1e-6
    torch.testing.assert_close(conflict_averse_weights(rows @ rows.mT, 0.0), third)
    torch.testing.assert_close(conflict_averse_weights(torch.zeros(3, 3, dtype=torch.float64), 0.5), third)


def test_one_task_is_lengthened_by_the_ball():
    assert float(conflict_averse_weights(torch.tensor([[7.0]]), 0.25)) == pytest.approx(1.25)


def test_small_gradients_still_move_where_torchjd_stops():
    pytest.importorskip("torchjd", reason="a rival")
    pytest.importorskip("clarabel", reason="TorchJD's CAGrad needs it")
    from torchjd.aggregation import CAGrad

    rows = jacobian("conflict", 8)
    rows = 1e-3 * rows / rows.norm()
    assert not CAGrad(c=0.5)(rows).any()
    small, large = (conflict_averse_weights(s * s * rows @ rows.mT, 0.5) for s in (1.0, 1e3))
    torch.testing.assert_close(small, large)
    theirs = CAGrad(c=0.5)(1e3 * rows)
    assert float((large @ rows * 1e3 - theirs).norm() / theirs.norm()) < 1e-3
    assert math.isfinite(float(small.sum()))
