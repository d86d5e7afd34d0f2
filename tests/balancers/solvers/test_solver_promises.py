"""What all solvers promise: scale, order of the tasks, replicas, degenerate Gramians, and no wait for a device."""

import pytest
import torch
from gramians import KINDS, gramian, jacobian, orders
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.balancers import solvers
from polytask.balancers.solvers import _conflict_averse, _equal_projection, _exchange, _interior, _power, _quadratic, _unit


def upgrad(matrix):
    tasks = matrix.shape[-1]
    return solvers.dual_cone_weights(matrix, torch.eye(tasks, dtype=matrix.dtype).expand(matrix.shape) / tasks).sum(-2)


def mean_projected(matrix):
    return solvers.dual_cone_weights(matrix, torch.full_like(matrix[..., :1, :], 1 / matrix.shape[-1])).squeeze(-2)


def vaccine(matrix):
    order = orders(matrix.shape[-1])
    targets = torch.full_like(matrix, 0.1)
    return solvers.vaccine_weights(matrix, targets, order.expand(matrix.shape))[0]


SOLVERS = {
    "min_norm": solvers.min_norm_weights,
    "upgrad": upgrad,
    "mean_projected": mean_projected,
    "conflict_averse": lambda matrix: solvers.conflict_averse_weights(matrix, 0.4),
    "nash": solvers.nash_weights,
    "fair": lambda matrix: solvers.power_weights(matrix, 2.0),
    "equal_projection": solvers.equal_projection_weights,
    "aligned": solvers.aligned_weights,
    "unit_sum": solvers.unit_sum_weights,
    "surgery": lambda matrix: solvers.surgery_weights(matrix, orders(matrix.shape[-1]).expand(matrix.shape)),
    "vaccine": vaccine,
}
DEGREE = {"nash": -0.5, "fair": -2 / 3}  # weights of s G are s to this power times those of G
WITH_ORDER = ("surgery", "vaccine")
every = pytest.mark.parametrize("name", SOLVERS)


def test_every_solver_is_here():
    assert len(solvers.__all__) == 10
    assert len(SOLVERS) == 11


@every
@pytest.mark.parametrize("kind", ["conflict", "aligned"])
@pytest.mark.parametrize("exponent", [-40, -20, -3, 3, 20, 40])
def test_scale_does_exactly_what_the_definition_says(name, kind, exponent):
    matrix, scale = gramian(kind, 5), 10.0**exponent
    expected = SOLVERS[name](matrix) * scale ** DEGREE.get(name, 0.0)
    torch.testing.assert_close(SOLVERS[name](matrix * scale), expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))


@every
@pytest.mark.parametrize("exponent", [-30, -8, 30])
def test_scale_of_a_float32_gramian(name, exponent):
    scale = 2.0**exponent  # exact in float32
    matrix = gramian("conflict", 5).float()
    weights = SOLVERS[name](matrix * scale)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, SOLVERS[name](matrix) * scale ** DEGREE.get(name, 0.0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in WITH_ORDER])
@settings(max_examples=8, deadline=None)
@given(st.integers(2, 7), st.sampled_from(["conflict", "aligned", "dependent"]), st.integers(0, 10**6))
def test_the_direction_does_not_depend_on_the_order_of_the_tasks(name, tasks, kind, seed):
    kind = "conflict" if name in DEGREE and kind == "dependent" else kind  # which may have no solution
    rows = jacobian(kind, tasks, seed)
    permutation = torch.randperm(tasks, generator=torch.Generator().manual_seed(seed))
    direction = SOLVERS[name](rows @ rows.mT) @ rows
    other = SOLVERS[name](rows[permutation] @ rows[permutation].mT) @ rows[permutation]
    scale = float(rows.norm())
    if name in DEGREE:
        direction, other = direction / direction.norm(), other / other.norm()
    torch.testing.assert_close(other, direction, rtol=1e-6, atol=1e-6 * scale)


@every
def test_replicas_are_solved_as_if_alone(name):
    rows = torch.stack([jacobian(kind, 6)[:, :2] for kind in KINDS])
    batch = torch.cat([rows @ rows.mT, gramian("conflict", 6).unsqueeze(0), gramian("ill", 6).unsqueeze(0)])
    together = SOLVERS[name](batch.view(4, 2, 6, 6)).view(8, 6)
    for alone, matrix in zip(together, batch, strict=True):
        expected = SOLVERS[name](matrix)
        gain, wanted = matrix @ alone, matrix @ expected
        scale = matrix.diagonal().sqrt() * (expected.abs() * matrix.diagonal().sqrt()).sum()
        assert bool(((gain - wanted).abs() <= 1e-7 * scale).all())


@every
def test_one_task_and_no_gradient(name):
    one = SOLVERS[name](torch.tensor([[4.0]], dtype=torch.float64))
    expected = {"nash": 0.5, "fair": 4.0 ** (-2 / 3), "conflict_averse": 1.4}.get(name, 1.0)
    assert float(one) == pytest.approx(expected)
    zero = SOLVERS[name](torch.zeros(3, 3, dtype=torch.float64))
    share = {"nash": 0.0, "fair": 0.0, "unit_sum": 0.0, "aligned": 1.0, "surgery": 1.0, "vaccine": 1.0}.get(name, 1 / 3)
    torch.testing.assert_close(zero, torch.full((3,), share, dtype=torch.float64))


@every
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_gramian_that_is_not_finite_is_not_silenced(name, poison):
    matrix = gramian("conflict", 3)
    matrix[1] = matrix[:, 1] = poison
    assert not bool(SOLVERS[name](matrix).isfinite().all())


@every
def test_a_gramian_of_float32_gradients_keeps_its_solution(name):
    rows = jacobian("conflict", 8).float()
    exact = SOLVERS[name](rows.double() @ rows.double().mT)
    torch.testing.assert_close(SOLVERS[name](rows @ rows.mT), exact.float(), rtol=2e-4, atol=2e-5)


@every
@pytest.mark.parametrize("kind", ["conflict", "aligned", "dependent", "ill"])
def test_where_nothing_may_wait_the_answer_is_the_same(name, kind, monkeypatch):
    """As on a device: fixed numbers of iterations, no branch on a value."""
    matrix = gramian(kind, 6)
    expected = SOLVERS[name](matrix)
    for module in (_unit, _exchange, _interior, _quadratic, _power, _conflict_averse, _equal_projection):
        monkeypatch.setattr(module, "may_wait", lambda _: False)
    gain, wanted = matrix @ SOLVERS[name](matrix), matrix @ expected
    scale = matrix.diagonal().sqrt() * (expected.abs() * matrix.diagonal().sqrt()).sum()
    assert bool(((gain - wanted).abs() <= 1e-7 * scale).all())


@every
def test_the_gramian_and_the_graph_are_left_alone(name):
    matrix = gramian("conflict", 4).requires_grad_()
    before = matrix.detach().clone()
    assert not SOLVERS[name](matrix).requires_grad
    assert torch.equal(matrix, before)
