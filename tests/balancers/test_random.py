"""Random weights: fresh each step, sum K, the same whoever is present."""

import pytest
import torch
from leaves import weights

from polytask.balancers import Random
from polytask.testing import check_balancer


def test_contract():
    check_balancer(Random, draws=True, scale="equivariant")


def test_weights_are_a_softmax_of_normals_that_sums_to_the_number_of_tasks():
    torch.manual_seed(4)
    found = weights(Random(["b", "a", "c"]), b=1.0, c=2.0, a=3.0)
    torch.manual_seed(4)
    expected = 3 * torch.softmax(torch.randn(3), 0)  # for the names in their sorted order
    assert [found[name] for name in "abc"] == pytest.approx(expected.tolist())


def test_every_step_draws_anew_and_all_tasks_are_alike_in_the_long_run():
    torch.manual_seed(0)
    balancer = Random(["a", "b", "c"])
    drawn = torch.tensor([list(weights(balancer, a=1.0, b=1.0, c=1.0).values()) for _ in range(1500)])
    assert len(drawn[:, 0].unique()) > 1400
    torch.testing.assert_close(drawn.sum(1), torch.full((1500,), 3.0))
    # One weight has standard deviation .62, so the mean of 1500 is within .064 of 1 but for four deviations.
    assert (drawn.mean(0) - 1).abs().max() < 0.064
    assert drawn.std(0).min() > 0.5


def test_an_absent_task_takes_its_share_with_it():
    balancer = Random(["a", "b", "c"])
    torch.manual_seed(2)
    full = weights(balancer, a=1.0, b=1.0, c=1.0)
    torch.manual_seed(2)
    assert weights(balancer, c=5.0, b=1.0) == {"c": full["c"], "b": full["b"]}


def test_is_k_times_torchjd():
    scalarization = pytest.importorskip("torchjd.scalarization", reason="TorchJD is not installed")
    torch.manual_seed(6)
    found = weights(Random(["a", "b"]), a=0.2, b=5.0)
    losses = torch.tensor([0.2, 5.0], requires_grad=True)
    torch.manual_seed(6)
    scalarization.Random()(losses).backward()
    assert list(found.values()) == pytest.approx((2 * losses.grad).tolist())
