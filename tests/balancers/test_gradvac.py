"""GradVac: the cosine becomes the target, averages move pair by pair."""

import math

import pytest
import torch
from weighing import NAMES, direction, weigh

from polytask.balancers import GradVac, PCGrad
from polytask.balancers._orders import visiting_orders
from polytask.balancers.measures import Measured
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(GradVac, absent_changes_others=True, scale="equivariant")


def at_angle(cosine, first=1.0, second=1.0):
    return torch.tensor([[first, 0.0], [second * cosine, second * math.sqrt(1 - cosine**2)]], dtype=torch.float64)


def by_hand(rows, targets, order):
    """Algorithm 1 on the gradients themselves; moves nothing."""
    total = torch.zeros_like(rows[0])
    for i, gradient in enumerate(rows):
        left = gradient.clone()
        for j in order[i]:
            cosine, wanted = (left @ rows[j] / left.norm() / rows[j].norm()).item(), targets[i][j]
            if j != i and cosine < wanted:
                part = wanted * math.sqrt(1 - cosine**2) - cosine * math.sqrt(1 - wanted**2)
                left = left + left.norm() * part / (rows[j].norm() * math.sqrt(1 - wanted**2)) * rows[j]
        total = total + left
    return total


def test_the_first_step_is_pcgrad():
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.4
    torch.testing.assert_close(direction(GradVac, rows), direction(PCGrad, rows))
    assert not torch.allclose(direction(GradVac, rows), rows.sum(0))


def test_two_gradients_are_turned_until_their_cosine_is_the_usual_one():
    balancer = GradVac(["a", "b"], beta=1.0)
    weigh(balancer, at_angle(0.6))
    rows = at_angle(0.1, 2.0, 5.0)
    weights = weigh(balancer, rows)
    # a by itself becomes a + (w_b - 1) b: the cosine of that with b is 0.6.
    turned = rows[0] + (weights[1] - 1) * rows[1]
    assert (turned @ rows[1] / turned.norm() / rows[1].norm()).item() == pytest.approx(0.6)
    turned = rows[1] + (weights[0] - 1) * rows[0]
    assert (turned @ rows[0] / turned.norm() / rows[0].norm()).item() == pytest.approx(0.6)


def test_nothing_is_done_to_gradients_that_agree_more_than_usual():
    balancer = GradVac(["a", "b"], beta=1.0)
    weigh(balancer, at_angle(-0.3))
    assert weigh(balancer, at_angle(-0.2)).tolist() == [1.0, 1.0]  # a conflict, but less of it than usual


def test_three_tasks_follow_the_algorithm():
    rows = torch.tensor([[2.0, 0.3, -0.4], [-1.0, 1.0, 0.2], [-0.5, -1.5, 1.0]]).double()
    targets = torch.tensor([[1.0, 0.5, -0.2], [0.4, 1.0, 0.0], [-0.6, 0.1, 1.0]])
    balancer = GradVac(NAMES[:3], seed=4)
    balancer.targets.put(NAMES[:3], targets)
    order = visiting_orders(NAMES[:3], NAMES[:3], seed=4, turn=0).tolist()
    torch.testing.assert_close(weigh(balancer, rows) @ rows, by_hand(rows, targets.tolist(), order), rtol=1e-6, atol=1e-6)


def test_averages_move_by_beta_and_only_those_of_present_pairs():
    balancer = GradVac(["a", "b", "c"], beta=0.25)
    rows = at_angle(0.8)
    for _ in range(2):
        balancer.weigh(Measured(rows @ rows.T), torch.ones(2).double(), ("c", "a"))
    found = balancer.targets.at(("a", "b", "c"))
    assert found[0, 2].item() == pytest.approx(0.8 * (1 - 0.75**2))
    assert found[2, 0].item() == pytest.approx(0.8 * (1 - 0.75**2))
    assert not found[1].any()
    assert not found[:, 1].any()


def test_a_task_that_only_the_device_knows_to_be_lost_moves_no_average():
    rows, lost = torch.eye(3).double(), torch.tensor([True, False, True])
    balancer = GradVac(["a", "b", "c"], beta=0.5)
    before = torch.tensor([[1.0, 0.5, 0.4], [0.5, 1.0, 0.3], [0.4, 0.3, 1.0]])
    balancer.targets.put("abc", before)
    balancer.weigh(Measured(rows @ rows.T, finite=lost), torch.ones(3).double(), ("a", "b", "c"))
    found = balancer.targets.at("abc")
    assert torch.equal(found[1], before[1])
    assert found[0, 2].item() == pytest.approx(0.2)


def test_steps_of_two_tasks_are_those_of_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    ours, theirs = GradVac(["a", "b"], beta=0.3), aggregation.GradVac(beta=0.3, eps=0.0)
    for cosine in (0.7, -0.4, 0.1, -0.9, 0.5):
        rows = at_angle(cosine, 3.0, 0.5)
        torch.testing.assert_close(weigh(ours, rows) @ rows, theirs(rows), rtol=1e-5, atol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"`beta`.*1\.5"):
        GradVac(["a"], beta=1.5)
