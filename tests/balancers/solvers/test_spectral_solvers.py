"""IMTL-G, Aligned-MTL and ConFIG: what defines them, pseudoinverses of the gradients themselves, and another implementation."""

import pytest
import torch
from gramians import SIZES, jacobian

from polytask.balancers.solvers import aligned_weights, equal_projection_weights, unit_sum_weights


def unit_rows(rows):
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("kind", ["conflict", "aligned", "lengths"])
@pytest.mark.parametrize("tasks", SIZES)
def test_all_projections_are_equal(kind, tasks):
    rows = jacobian(kind, tasks)
    weights = equal_projection_weights(rows @ rows.mT)
    assert float(weights.sum()) == pytest.approx(1.0)
    direction = weights @ rows
    along = unit_rows(rows) @ direction
    torch.testing.assert_close(along, along.mean().expand(tasks), rtol=1e-8, atol=1e-10 * float(direction.norm()))


@pytest.mark.parametrize("kind", ["conflict", "aligned", "lengths"])
@pytest.mark.parametrize("tasks", SIZES)
def test_all_angles_are_equal_and_the_length_is_the_sum_of_projections(kind, tasks):
    rows = jacobian(kind, tasks)
    direction = unit_sum_weights(rows @ rows.mT) @ rows
    cosines = unit_rows(rows) @ direction / direction.norm()
    torch.testing.assert_close(cosines, cosines.mean().expand(tasks), rtol=1e-8, atol=1e-10)
    assert float(direction.norm()) == pytest.approx(float((rows @ direction).sum() / direction.norm()), rel=1e-8)


@pytest.mark.parametrize("tasks", [3, 8, 32])
def test_dependent_gradients_have_the_pseudoinverse(tasks):
    rows = jacobian("dependent", tasks)
    inverse = torch.linalg.pinv(rows)  # of J itself: pinv(G) = pinv(J)' pinv(J)
    v = inverse.mT @ inverse @ rows.norm(dim=1)
    torch.testing.assert_close(equal_projection_weights(rows @ rows.mT), v / v.sum(), rtol=1e-8, atol=1e-9)
    wanted = torch.linalg.pinv(unit_rows(rows)).sum(1)
    wanted = wanted / wanted.norm()
    torch.testing.assert_close(unit_sum_weights(rows @ rows.mT) @ rows, wanted * (rows @ wanted).sum(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", ["conflict", "aligned", "dependent", "stationary"])
@pytest.mark.parametrize("tasks", SIZES)
def test_aligned_gradients_have_equal_singular_values(kind, tasks):
    rows = jacobian(kind, tasks)
    left, values, right = torch.linalg.svd(rows, full_matrices=False)
    kept = values > 1e-7 * values[0]
    wanted = values[kept].min() * (left[:, kept] @ right[kept]).sum(0)  # the sum of the rows of `B J`
    torch.testing.assert_close(aligned_weights(rows @ rows.mT) @ rows, wanted, rtol=1e-7, atol=1e-9)


def test_orthogonal_gradients_of_one_length_stay():
    torch.testing.assert_close(aligned_weights(9.0 * torch.eye(3)), torch.ones(3))
    torch.testing.assert_close(unit_sum_weights(9.0 * torch.eye(3)), torch.ones(3))
    torch.testing.assert_close(equal_projection_weights(9.0 * torch.eye(3)), torch.full((3,), 1 / 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exactly_opposite_gradients_have_no_direction(dtype):
    rows = torch.tensor([[1.0, -2.0], [-1.0, 2.0]], dtype=dtype)
    matrix = rows @ rows.mT
    assert not unit_sum_weights(matrix).any()
    torch.testing.assert_close(equal_projection_weights(matrix), torch.tensor([0.5, 0.5], dtype=dtype))
    assert float((aligned_weights(matrix) @ rows).abs().max()) < 1e-6


def test_zero_gradients_take_no_part():
    rows = torch.tensor([[1.0, 0.5], [0.0, 0.0], [-0.2, 1.0]], dtype=torch.float64)
    some = rows[[0, 2]]
    for solve in (unit_sum_weights, equal_projection_weights, aligned_weights):
        torch.testing.assert_close(solve(rows @ rows.mT) @ rows, solve(some @ some.mT) @ some)
    assert float(unit_sum_weights(rows @ rows.mT)[1]) == 0.0


@pytest.mark.parametrize("tasks", [2, 8])
def test_torchjd_finds_the_same_directions(tasks):
    aggregation = pytest.importorskip("torchjd.aggregation", reason="another implementation")
    rows = jacobian("conflict", tasks)
    matrix = rows @ rows.mT
    torch.testing.assert_close(equal_projection_weights(matrix) @ rows, aggregation.IMTLG()(rows))
    torch.testing.assert_close(unit_sum_weights(matrix) @ rows, aggregation.ConFIG()(rows))
    torch.testing.assert_close(aligned_weights(matrix) @ rows / tasks, aggregation.AlignedMTL()(rows))
