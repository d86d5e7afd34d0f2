"""SDMGrad: its objective, its limits, convergence under noise, TorchJD."""

import pytest
import torch
from featured import NAMES, Noisy, mean_weights, step

from polytask.balancers import MoDo, SDMGrad
from polytask.balancers.solvers import min_norm_weights
from polytask.errors import ConfigError
from polytask.testing import check_balancer

THREE = NAMES[:3]


def test_contract():
    check_balancer(SDMGrad, absent_changes_others=True)


def test_a_step_by_hand():
    """Lengths of 1 make s 1. Batches of gradients (1, 0), (.6, .8) and then (0, 1), (.8, .6); λ 1 adds (.5, .5)."""
    balancer = SDMGrad(["a", "b"], pull=1.0, lr=0.25)
    first, second = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.0, 1.0], [0.8, 0.6]])
    step(balancer, first), step(balancer, second)
    # A (u + λ/m) = (.8, 1.76); u - .25 that = (.3, .06) -> (.62, .38); (u + λ/m) / 2 = (.56, .44)
    assert step(balancer, first).tolist() == pytest.approx([1.12, 0.88])


def test_without_pull_it_is_modo():
    one, other, noisy = SDMGrad(THREE, pull=0.0, lr=0.2), MoDo(THREE, gamma=0.2), Noisy()
    for _ in range(6):
        rows = noisy.draw()
        torch.testing.assert_close(step(one, rows), step(other, rows))


def test_a_great_pull_is_the_plain_sum():
    balancer, noisy = SDMGrad(THREE, pull=1e4), Noisy()
    for _ in range(6):
        found = step(balancer, noisy.draw())
    assert found.tolist() == pytest.approx([1.0] * 3, abs=1e-3)


def _optimum(gramian, pull):
    """`min |Σ (u + λ/m) g|²` on a fine grid of the simplex."""
    line = torch.linspace(0, 1, 401, dtype=torch.float64)
    first, second = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([first, second, 1 - first - second], -1)[(first + second) <= 1 + 1e-9]
    moved = points + pull / 3
    return points[((moved @ gramian) * moved).sum(1).argmin()]


def test_weights_go_to_the_optimum_of_the_mean_gradients_and_not_to_that_of_one_batch():
    means, pull = Noisy.means @ Noisy.means.T, 0.3
    assert (_optimum(means, 0.0) - min_norm_weights(means)).abs().max() < 0.005
    u, biased = _optimum(means, pull), _optimum(means + 6 * torch.diag(Noisy.noise**2), pull)
    found = mean_weights(SDMGrad(THREE, pull=pull, lr=0.03), 900, 600, Noisy().draw) / 3
    assert ((1 + pull) * found - pull / 3 - u).abs().max() < 0.08 < (biased - u).abs().max() / 3


def test_a_task_alone_is_plain():
    balancer = SDMGrad(["a"])
    assert [step(balancer, torch.tensor([[3.0, -4.0, 1.0]])).item() for _ in range(3)] == pytest.approx([1.0] * 3)


def test_is_k_times_torchjd_on_one_batch_seen_twice():
    """There the official scale, from the diagonal, is ours."""
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    weighting = aggregation.SDMGradWeighting(lr=0.2, momentum=0.5, n_iter=7, lambda_=0.3)
    balancer, rows = SDMGrad(THREE, pull=0.3, lr=0.2, iterations=7), Noisy().draw()
    step(balancer, rows)
    step(balancer, rows)
    for _ in range(4):
        torch.testing.assert_close(step(balancer, rows), 3 * weighting(rows @ rows.T), rtol=1e-4, atol=1e-5)


def test_gradients_as_small_as_the_official_constant_are_balanced_still():
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    rows = 1e-6 * Noisy().draw()
    stuck = aggregation.SDMGradWeighting(lr=0.2, n_iter=7)(rows @ rows.T)
    found = mean_weights(SDMGrad(THREE, lr=0.2, iterations=7), 3, 1, lambda: rows) / 3
    assert (stuck - 1 / 3).abs().max() < 0.01 < (found - 1 / 3).abs().max()


def test_numbers_out_of_range_are_refused():
    for options in ({"pull": -1.0}, {"lr": 0.0}, {"iterations": 0}):
        with pytest.raises(ConfigError):
            SDMGrad(THREE, **options)
