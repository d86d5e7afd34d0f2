"""PCGrad and GradVac, against their algorithms carried out on the gradients themselves."""

import pytest
import torch
from gramians import jacobian, orders

from polytask.balancers.solvers import surgery_weights, vaccine_weights


def by_hand(rows, order, change):
    """Sum of the gradients after each has met all others in its order; `change(i, j, changed)` is what of `g_j` is added."""
    total = torch.zeros_like(rows[0])
    for i in range(len(rows)):
        changed = rows[i].clone()
        for j in order[i].tolist():
            if j != i:
                changed = changed + change(i, j, changed) * rows[j]
        total += changed
    return total


@pytest.mark.parametrize("kind", ["conflict", "stationary", "aligned", "lengths"])
@pytest.mark.parametrize("tasks", [2, 3, 8, 20])
def test_surgery_is_that_of_the_paper(kind, tasks):
    rows, order = jacobian(kind, tasks), orders(tasks)
    expected = by_hand(rows, order, lambda _, j, g: -min(float(g @ rows[j]), 0.0) / float(rows[j] @ rows[j]))
    weights = surgery_weights(rows @ rows.mT, order)
    torch.testing.assert_close(weights @ rows, expected, rtol=1e-9, atol=1e-10)
    assert kind != "conflict" or not torch.equal(weights, torch.ones_like(weights))


@pytest.mark.parametrize("kind", ["conflict", "stationary", "aligned", "lengths"])
@pytest.mark.parametrize("tasks", [2, 3, 8, 20])
def test_vaccine_is_that_of_the_paper(kind, tasks):
    rows, order = jacobian(kind, tasks), orders(tasks)
    targets = torch.rand(tasks, tasks, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.3
    seen = torch.eye(tasks, dtype=torch.float64)

    def change(i, j, g):
        now, wanted = g @ rows[j] / g.norm() / rows[j].norm(), targets[i, j]
        seen[i, j] = now
        turned = wanted * (1 - now**2).sqrt() - now * (1 - wanted**2).sqrt()
        return g.norm() * turned / rows[j].norm() / (1 - wanted**2).sqrt() if now < wanted else 0.0

    expected = by_hand(rows, order, change)
    weights, cosines = vaccine_weights(rows @ rows.mT, targets, order)
    torch.testing.assert_close(weights @ rows, expected, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(cosines, seen, rtol=1e-8, atol=1e-9)


def test_the_vaccine_makes_the_angle_that_is_wanted():
    rows = torch.tensor([[2.0, 0.0], [-1.0, 3.0]], dtype=torch.float64)
    targets = torch.tensor([[0.0, 0.5], [-1.0, 0.0]], dtype=torch.float64)  # the second is content
    weights, cosines = vaccine_weights(rows @ rows.mT, targets, orders(2))
    turned = weights @ rows - rows[1]
    assert float(turned @ rows[1] / turned.norm() / rows[1].norm()) == pytest.approx(0.5)
    assert float(cosines[0, 1]) == pytest.approx(-(0.1**0.5))


def test_targets_of_zero_are_surgery():
    rows, order = jacobian("conflict", 8), orders(8)
    weights, _ = vaccine_weights(rows @ rows.mT, torch.zeros(8, 8), order)
    torch.testing.assert_close(weights, surgery_weights(rows @ rows.mT, order))


def test_the_order_matters_and_each_row_has_its_own():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.2], [-0.5, -1.0]], dtype=torch.float64)
    first = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
    other = torch.tensor([[0, 2, 1], [0, 1, 2], [0, 1, 2]])
    assert not torch.allclose(surgery_weights(rows @ rows.mT, first), surgery_weights(rows @ rows.mT, other))


def test_exactly_opposite_and_zero_and_equal_gradients():
    rows = torch.tensor([[1.0, -2.0], [-3.0, 6.0], [0.0, 0.0]], dtype=torch.float64)
    weights = surgery_weights(rows @ rows.mT, orders(3))
    torch.testing.assert_close(weights, torch.tensor([4.0, 4 / 3, 1.0], dtype=torch.float64))
    vaccinated, cosines = vaccine_weights(rows @ rows.mT, torch.full((3, 3), 0.5), orders(3))
    assert bool(vaccinated.isfinite().all())
    assert float(vaccinated[2]) == 1.0
    torch.testing.assert_close(cosines[2], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    equal, _ = vaccine_weights(torch.full((2, 2), 3.0), torch.ones(2, 2), orders(2))
    torch.testing.assert_close(equal, torch.ones(2))
