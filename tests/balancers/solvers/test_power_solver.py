"""`G a = a^(-1/alpha)`: its residual, closed forms, and another implementation."""

import pytest
import torch
from gramians import SIZES, gramian, jacobian
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.balancers.solvers import nash_weights, power_weights


def residual(matrix, weights, alpha):
    """Relative to the wanted gains, and to the terms that make them up: the latter is rounding, whatever the condition."""
    wanted = weights ** (-1.0 / alpha)
    error = (matrix @ weights - wanted).abs()
    return float((error / wanted).max()), float((error / (matrix.abs() @ weights + wanted)).max())


@pytest.mark.parametrize("kind", ["conflict", "aligned"])
@pytest.mark.parametrize("tasks", SIZES)
@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 2.0, 10.0])
def test_every_task_gains_what_its_weight_says(kind, tasks, alpha):
    matrix = gramian(kind, tasks)
    weights = power_weights(matrix, alpha)
    assert float(weights.min()) > 0.0
    assert residual(matrix, weights, alpha)[0] < 1e-8


@pytest.mark.parametrize("kind", ["dependent", "stationary", "ill", "lengths"])
@pytest.mark.parametrize("tasks", SIZES)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_the_residual_is_rounding_whatever_the_condition(kind, tasks, alpha):
    matrix = gramian(kind, tasks)
    weights = power_weights(matrix, alpha)
    assert float(weights.min()) > 0.0
    assert residual(matrix, weights, alpha)[1] < 1e-12


def test_two_tasks_of_nash_have_a_closed_form():
    matrix = torch.tensor([[4.0, -1.0], [-1.0, 9.0]], dtype=torch.float64)
    first = (4.0 - 2.0 / 3.0) ** -0.5  # a_2 = a_1 sqrt(G_11 / G_22), from equal `G_ii a_i²`
    torch.testing.assert_close(nash_weights(matrix), torch.tensor([first, first * 2 / 3], dtype=torch.float64))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.floats(0.1, 10.0), st.integers(0, 10**6))
def test_orthogonal_gradients_have_a_closed_form(tasks, alpha, seed):
    squares = 10 ** torch.empty(tasks, dtype=torch.float64).uniform_(-3, 3, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(power_weights(torch.diag(squares), alpha), squares ** (-alpha / (1.0 + alpha)))


@pytest.mark.parametrize("kind", ["conflict", "aligned", "lengths", "ill"])
def test_nash_harms_no_task(kind):
    rows = jacobian(kind, 8)
    assert float((rows @ (nash_weights(rows @ rows.mT) @ rows)).min()) > 0.0


def test_a_zero_gradient_weighs_nothing_and_the_others_are_solved():
    matrix = gramian("conflict", 3)
    wider = torch.zeros(4, 4, dtype=torch.float64)
    wider[:3, :3] = matrix
    torch.testing.assert_close(nash_weights(wider)[:3], nash_weights(matrix))
    assert float(nash_weights(wider)[3]) == 0.0
    assert not nash_weights(torch.zeros(2, 2)).any()


def test_exactly_opposite_gradients_cancel_with_large_weights():
    rows = torch.tensor([[1.0, -2.0], [-3.0, 6.0]], dtype=torch.float64)
    weights = nash_weights(rows @ rows.mT)
    assert float(weights[0] / weights[1]) == pytest.approx(3.0, rel=1e-6)
    assert 1e5 < float(weights.min()) < 1e9


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_torchjd_finds_the_same_weights(alpha):
    aggregation = pytest.importorskip("torchjd.aggregation", reason="another implementation")
    rows = jacobian("aligned", 3)
    torch.testing.assert_close(
        power_weights(rows @ rows.mT, alpha) @ rows, aggregation.FairGrad(alpha=alpha)(rows), rtol=1e-7, atol=1e-9
    )
