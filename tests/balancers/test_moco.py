"""MoCo: the published step, convergence under noise, limits."""

import pytest
import torch
from featured import NAMES, Noisy, mean_weights, step

from polytask.balancers import MoCo
from polytask.balancers.solvers import min_norm_weights
from polytask.errors import ConfigError
from polytask.testing import check_balancer

THREE = NAMES[:3]


def test_contract():
    check_balancer(MoCo, absent_changes_others=True)


def test_a_step_by_hand():
    """β 1 tracks today's gradients; lengths of 1 make s 1, so the rates are the paper's. Gradients (1, 0) and (0.6, 0.8)."""
    balancer, rows = MoCo(["a", "b"], beta=1.0, gamma=0.5, rho=0.2, decay=0.0), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # λ = (.5, .5): (G + ρ) λ = (.8 + .1, .8 + .1), λ stays; turned to (1, 0) and (-.6, .8): (.2 + .1) both
    assert step(balancer, rows).tolist() == pytest.approx([1.0, 1.0])
    balancer.shares.put(("a", "b"), torch.tensor([0.75, 0.25]), torch.tensor([True, True]))
    # (G + ρ) λ = (.9 + .15, .7 + .05); λ - .5 that = (.225, -.125), on the simplex (.675, .325)
    assert step(balancer, rows).tolist() == pytest.approx([1.35, 0.65])


def test_the_published_recursion_with_decaying_rates():
    balancer, noisy = MoCo(THREE, beta=0.6, gamma=0.3, rho=0.1, decay=0.5), Noisy()
    y, shares, missing = torch.zeros(3, 6, dtype=torch.float64), torch.full((3,), 1 / 3, dtype=torch.float64), 1.0
    for time in range(1, 7):
        rows = noisy.draw()
        found = step(balancer, rows)
        rate = 0.6 / time**0.5
        y, missing = y + rate * (rows - y), missing * (1 - rate)
        tracked = y / (1 - missing)
        gramian = tracked @ tracked.T / tracked.norm(dim=1).mean() ** 2
        moved = shares - 0.3 / time**0.5 * (gramian @ shares + 0.1 * shares)
        shares = _nearest(moved)
        torch.testing.assert_close(found, 3 * shares, rtol=1e-4, atol=1e-5)


def _nearest(x):
    """The simplex point by bisection of the shift."""
    low, high = x.min() - 1, x.max()
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (x - middle).clamp_min(0).sum() > 1 else (low, middle)
    return (x - low).clamp_min(0)


def test_weights_go_to_the_least_norm_of_the_mean_gradients_and_not_to_that_of_one_batch():
    means = Noisy.means @ Noisy.means.T
    wanted = min_norm_weights(means)
    assert wanted.tolist() == pytest.approx([2 / 3, 1 / 3, 0.0], abs=1e-6)
    biased = min_norm_weights(means + 6 * torch.diag(Noisy.noise**2))
    found = mean_weights(MoCo(THREE, beta=0.02, gamma=0.1, decay=0.0), 600, 400, Noisy().draw) / 3
    assert (found - wanted).abs().max() < 0.06 < (biased - wanted).abs().max() / 5


def test_a_great_pull_keeps_the_plain_sum():
    balancer, noisy = MoCo(THREE, gamma=0.01, rho=100.0, decay=0.0), Noisy()
    for _ in range(30):
        found = step(balancer, noisy.draw())
    assert found.tolist() == pytest.approx([1.0, 1.0, 1.0], abs=0.05)


def test_a_task_alone_is_plain():
    balancer = MoCo(["a"])
    assert [step(balancer, torch.tensor([[3.0, -4.0, 1.0]])).item() for _ in range(3)] == pytest.approx([1.0] * 3)


def test_numbers_out_of_range_are_refused():
    for options in ({"beta": 0.0}, {"beta": 1.5}, {"gamma": -1.0}, {"rho": -0.1}, {"decay": -1.0}):
        with pytest.raises(ConfigError):
            MoCo(THREE, **options)
