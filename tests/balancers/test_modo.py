"""MoDo: the published step on two batches, convergence under noise, TorchJD."""

from itertools import pairwise

import pytest
import torch
from featured import NAMES, Noisy, mean_weights, step

from polytask.balancers import MoDo
from polytask.balancers.solvers import min_norm_weights
from polytask.testing import check_balancer

THREE = NAMES[:3]


def test_contract():
    check_balancer(MoDo, absent_changes_others=True)


def test_a_step_by_hand():
    """Lengths of 1 make s 1. Batches of gradients (1, 0), (.6, .8) and then (0, 1), (.8, .6)."""
    balancer = MoDo(["a", "b"], gamma=0.5, rho=0.2)
    first, second = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.0, 1.0], [0.8, 0.6]])
    assert step(balancer, first).tolist() == [1.0, 1.0]
    assert step(balancer, second).tolist() == [1.0, 1.0]  # which no batch before it has moved
    # A = second firstᵀ = [[0, .8], [.8, .96]]; A λ + ρ λ = (.4 + .1, .88 + .1); λ - .5 that = (.25, .01) -> (.62, .38)
    assert step(balancer, first).tolist() == pytest.approx([1.24, 0.76])


def test_the_weights_of_a_step_do_not_depend_on_its_own_gradients():
    one, other, noisy = MoDo(THREE), MoDo(THREE), Noisy()
    for _ in range(4):
        rows = noisy.draw()
        step(one, rows), step(other, rows)
    assert torch.equal(step(one, noisy.draw()), step(other, noisy.draw()))
    assert not torch.equal(step(one, rows), step(other, rows))


def test_weights_go_to_the_least_norm_of_the_mean_gradients_and_not_to_that_of_one_batch():
    means = Noisy.means @ Noisy.means.T
    wanted, biased = min_norm_weights(means), min_norm_weights(means + 6 * torch.diag(Noisy.noise**2))
    found = mean_weights(MoDo(THREE, gamma=0.03), 900, 600, Noisy().draw) / 3
    assert (found - wanted).abs().max() < 0.08 < (biased - wanted).abs().max() / 4


def test_one_and_the_same_batch_twice_is_the_least_norm_of_that_batch():
    rows = Noisy().draw()
    found = mean_weights(MoDo(THREE, gamma=0.5), 300, 1, lambda: rows) / 3
    assert (found - min_norm_weights(rows @ rows.T)).abs().max() < 1e-3


def test_a_task_alone_is_plain():
    balancer = MoDo(["a"], rho=0.3)
    assert [step(balancer, torch.tensor([[3.0, -4.0, 1.0]])).item() for _ in range(3)] == pytest.approx([1.0] * 3)


def test_a_task_that_comes_late_has_nothing_to_be_compared_with():
    """Its zero gradient of the step before would be the least norm, and take weight from all."""
    balancer, rows = MoDo(THREE, gamma=0.5), torch.eye(3, 6)
    for _ in range(5):
        step(balancer, rows[:2], names=("a", "b"))
    step(balancer, rows)
    assert step(balancer, rows).tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_is_k_times_torchjd_on_the_same_pairs():
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    weighting, balancer, noisy = aggregation.MoDoWeighting(gamma=0.05, rho=0.1), MoDo(THREE, gamma=0.05, rho=0.1), Noisy()
    drawn = [noisy.draw() for _ in range(8)]
    batches = [rows / rows.norm(dim=1, keepdim=True) for rows in drawn]  # gradients of length 1: there s is 1
    found = [step(balancer, rows) for rows in batches]
    wanted = [3 * weighting(rows @ before.T) for before, rows in pairwise(batches)]
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(torch.stack(found[2:]), torch.stack(wanted[:-1]), rtol=1e-4, atol=1e-5)
