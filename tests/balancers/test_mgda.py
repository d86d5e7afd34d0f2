"""MGDA: the shortest vector of the hull, who rules it, and what normalising does."""

import pytest
import torch
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import MGDA
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(MGDA, absent_changes_others=True, scale="equivariant", conflict_free=True)


@pytest.mark.parametrize(
    ("first", "second"), [([3.0, 1.0], [-1.0, 2.0]), ([3.0, 1.0], [1.0, 0.2]), ([0.5, 0.0], [2.0, 1.0]), ([1.0, 0.0], [0.0, 4.0])]
)
def test_two_tasks_have_the_closed_form(first, second):
    a, b = torch.tensor(first), torch.tensor(second)
    share = ((b - a) @ b / (a - b).square().sum()).clamp(0, 1).item()
    assert weigh(MGDA(["a", "b"]), torch.stack([a, b])).tolist() == pytest.approx([2 * share, 2 - 2 * share], abs=1e-6)


@pytest.mark.parametrize("tasks", [3, 8])
def test_no_task_gains_less_than_the_square_of_the_direction(tasks):
    rows = jacobian("conflict", tasks)
    weights = weigh(MGDA(NAMES[:tasks]), rows) / tasks
    found = weights @ rows
    gains = rows @ found
    torch.testing.assert_close(gains[weights > 1e-9], (found @ found).expand_as(gains[weights > 1e-9]))
    assert gains.min() > found @ found * (1 - 1e-9)
    assert weights.sum().item() == pytest.approx(1.0)


def test_three_orthogonal_gradients_weigh_the_inverse_square_of_their_lengths():
    lengths = torch.tensor([1.0, 2.0, 5.0]).double()
    wanted = 3 * lengths**-2 / (lengths**-2).sum()
    torch.testing.assert_close(weigh(MGDA(NAMES[:3]), torch.diag(lengths)), wanted)


def test_the_shortest_gradient_rules_unless_lengths_are_taken_out():
    rows = torch.diag(torch.tensor([1.0, 1.0, 0.01]))
    rules = weigh(MGDA(NAMES[:3]), rows)
    assert rules[2] > 2.999
    found = direction(MGDA, rows, normalise="l2")
    torch.testing.assert_close(found, found[0].expand(3))


def test_normalised_gradients_are_summed_as_they_were_compared():
    """Weights for normalised gradients on plain ones harm a task: with two tasks they are the plain sum."""
    rows = torch.tensor([[1.0, 0.0], [-3.0, 1.0]], dtype=torch.float64)
    assert (rows @ rows.sum(0)).min() < 0
    for normalise, losses in (("l2", [1.0, 1.0]), ("loss", [0.2, 7.0]), ("loss_l2", [0.2, 7.0])):
        assert (rows @ direction(MGDA, rows, losses, normalise=normalise)).min() > 0, normalise


@pytest.mark.parametrize(("normalise", "divisors"), [("l2", [2.0, 3.0]), ("loss", [5.0, 0.5]), ("loss_l2", [10.0, 1.5])])
def test_divisors(normalise, divisors):
    rows, n = torch.diag(torch.tensor([2.0, 3.0])), torch.tensor(divisors)
    share = (rows.diagonal() / n) ** -2 / n  # orthogonal: the inverse square of what is compared
    wanted = 2 * share / share.sum()
    assert weigh(MGDA(["a", "b"], normalise=normalise), rows, [5.0, 0.5]).tolist() == pytest.approx(wanted.tolist())
    assert weigh(MGDA(["a", "b"], normalise=normalise), rows, [-5.0, 0.5]).tolist() == pytest.approx(wanted.tolist())


def test_is_no_longer_than_torchjds():
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    rows = jacobian("conflict", 8)
    ours, theirs = direction(MGDA, rows) / 8, aggregation.MGDA(epsilon=1e-6, max_iters=300)(rows)
    assert ours.norm() <= theirs.norm() <= 1.05 * ours.norm()


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"'loss\+'.*Did you mean 'loss'"):
        MGDA(["a"], normalise="loss+")
