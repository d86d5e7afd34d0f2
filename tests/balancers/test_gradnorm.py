"""GradNorm: weights learned by `L_grad` alone, with first losses by name."""

import math

import pytest
import torch
from weighing import NAMES, weigh

from polytask.balancers import GradNorm
from polytask.balancers.measures import Measured
from polytask.errors import ConfigError
from polytask.testing import check_balancer

LENGTHS = torch.tensor([4.0, 1.0, 0.25]).double()


def test_contract():
    check_balancer(GradNorm, absent_changes_others=True)


def trained(balancer, lengths=LENGTHS, losses=(1.0, 1.0, 1.0), steps=600):
    for _ in range(steps):
        weights = weigh(balancer, torch.diag(torch.as_tensor(lengths).double()), losses)
    return weights


def test_without_progress_weighted_gradients_become_equally_long():
    weights = trained(GradNorm(NAMES[:3], alpha=0.0, lr=0.01), steps=250)
    wanted = 3 / LENGTHS / (1 / LENGTHS).sum()
    torch.testing.assert_close(weights, wanted, rtol=0.1, atol=0.02)


def test_two_tasks_find_lengths_that_their_progress_asks_for():
    balancer = GradNorm(["a", "b"], alpha=1.5, lr=0.02, initial={"a": 1.0, "b": 2.0})
    weights = trained(balancer, [1.0, 1.0], [0.9, 0.6], steps=150)  # left: 0.9 and 0.3, r = 1.5 and 0.5
    # Equal lengths: w_i = mean(w) r_i^alpha where that sums to 2; else the task above its target falls, the other rises.
    assert weights[0] > 1.5 > 0.5 > weights[1]
    assert weights.sum().item() == pytest.approx(2.0)


def by_hand(lengths, losses, first, steps, alpha, lr):
    """The same with autograd and torch's Adam on gradients divided by the mean length."""
    w = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    adam, seen = torch.optim.Adam([w], lr=lr), []
    for step in range(steps):
        seen.append(w.detach().clone())
        norms = lengths[step] / lengths[step].mean()
        left = losses[step] / first
        target = ((w * norms).mean() * (left / left.mean()) ** alpha).detach()
        adam.zero_grad()
        (w * norms - target).abs().sum().backward()
        adam.step()
        with torch.no_grad():
            w.clamp_(min=1e-3).mul_(3 / w.sum())
    return seen


def test_three_tasks_follow_the_algorithm():
    generator = torch.Generator().manual_seed(3)
    lengths, losses = (torch.rand(30, 3, generator=generator, dtype=torch.float64) + 0.1 for _ in range(2))
    wanted = by_hand(lengths, losses, losses[0], 12, alpha=1.5, lr=0.05)
    balancer = GradNorm(NAMES[:3], alpha=1.5, lr=0.05)
    for step in range(12):
        torch.testing.assert_close(weigh(balancer, lengths[step].diag(), losses[step]), wanted[step], rtol=1e-4, atol=1e-5)


def test_the_first_loss_is_kept_by_name_and_may_be_given():
    balancer = GradNorm(["a", "b", "c"], initial={"b": math.log(10)})
    balancer.weigh(Measured(torch.eye(2).double()), torch.tensor([5.0, 3.0]).double(), ("c", "b"))
    assert balancer.first.at(("a", "b", "c")).tolist() == pytest.approx([0.0, math.log(10), 5.0])
    weigh(balancer, torch.eye(3), [0.5, 0.1, 0.1])
    assert balancer.first.at(("a", "b", "c")).tolist() == pytest.approx([0.5, math.log(10), 5.0])


def test_an_absent_task_keeps_its_weight_and_the_others_share_what_they_had():
    balancer = GradNorm(["a", "b", "c"], lr=0.1)
    trained(balancer, steps=5)
    before = balancer.weights.at("abc").clone()
    for _ in range(5):
        balancer.weigh(Measured(torch.diag(torch.tensor([1.0, 9.0]).double())), torch.ones(2).double(), ("a", "c"))
    after = balancer.weights.at("abc")
    assert after[1] == before[1]
    assert (after[0] + after[2]).item() == pytest.approx((before[0] + before[2]).item())
    assert after[0] != before[0]
    assert balancer.turns.at("abc").tolist() == [10.0, 5.0, 10.0]


def test_a_task_that_only_the_device_knows_to_be_lost_is_as_absent():
    one, other = GradNorm(["a", "b", "c"], lr=0.1), GradNorm(["a", "b", "c"], lr=0.1)
    for step in range(4):
        lengths, losses = torch.tensor([3.0, 1.0 + step]).double(), torch.tensor([0.7, 0.9 + step]).double()
        one.weigh(Measured(lengths.square().diag()), losses, ("a", "c"))
        filled = Measured(
            torch.tensor([lengths[0], 1.0, lengths[1]]).double().square().diag(), finite=torch.tensor([True, False, True])
        )
        other.weigh(filled, torch.tensor([losses[0], 1.0, losses[1]]).double(), ("a", "b", "c"))
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, msg=name)


def test_no_weight_is_lost_for_good():
    balancer = GradNorm(["a", "b"], alpha=0.0, lr=0.2)
    weights = trained(balancer, [1.0, 1e6], [1.0, 1.0], steps=60)
    assert 0 < weights[1] < 0.01
    assert trained(balancer, [1e6, 1.0], [1.0, 1.0], steps=150)[1] > 1.5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"alpha": -1.0}, "`alpha`.*-1"),
        ({"lr": 0.0}, "`lr`"),
        ({"initial": {"x": 1.0}}, "'x'"),
        ({"initial": {"a": 0.0}}, "initial.a"),
    ],
)
def test_mistakes_are_named(options, text):
    with pytest.raises(ConfigError, match=text):
        GradNorm(["a"], **options)
