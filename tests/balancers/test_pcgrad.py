"""PCGrad: the algorithm row by row, and orders that belong to names."""

import itertools

import pytest
import torch
from weighing import NAMES, direction, weigh

from polytask.balancers import PCGrad
from polytask.balancers._orders import visiting_orders
from polytask.testing import check_balancer


def test_contract():
    check_balancer(PCGrad, absent_changes_others=True, scale="equivariant")


def by_hand(rows, order):
    """Algorithm 1 on the gradients themselves."""
    total = torch.zeros_like(rows[0])
    for i, gradient in enumerate(rows):
        left = gradient.clone()
        for j in order[i]:
            inner = left @ rows[j]
            if j != i and inner < 0:
                left = left - inner / (rows[j] @ rows[j]) * rows[j]
        total = total + left
    return total


def test_two_tasks_in_conflict_lose_what_is_against_the_other():
    g, h = torch.tensor([2.0, 0.0]).double(), torch.tensor([-1.0, 1.0]).double()
    wanted = (g - (g @ h) / (h @ h) * h) + (h - (g @ h) / (g @ g) * g)
    torch.testing.assert_close(direction(PCGrad, torch.stack([g, h])), wanted)
    torch.testing.assert_close(direction(PCGrad, torch.stack([g, -h])), g - h)  # no conflict: the plain sum


@pytest.mark.parametrize("seed", range(6))
def test_is_the_algorithm_with_its_order(seed):
    rows = torch.tensor([[2.0, 0.3, -0.4], [-1.0, 1.0, 0.2], [-0.5, -1.5, 1.0]]).double()
    order = visiting_orders(NAMES[:3], NAMES[:3], seed=seed, turn=0).tolist()
    torch.testing.assert_close(direction(PCGrad, rows, seed=seed), by_hand(rows, order))
    possible = {tuple(by_hand(rows, o).tolist()) for o in itertools.product(itertools.permutations(range(3)), repeat=3)}
    assert len(possible) > 4  # the order matters on these rows


def test_each_step_draws_other_orders_and_all_are_as_likely():
    counts = torch.zeros(3, 3, 3)
    for turn in range(3000):
        counts += torch.nn.functional.one_hot(visiting_orders("abc", "abc", seed=0, turn=turn), 3)
    assert (counts / 3000 - 1 / 3).abs().max() < 0.04  # 4.6 standard deviations
    assert not torch.equal(
        visiting_orders("abcdef", "abcdef", seed=0, turn=1), visiting_orders("abcdef", "abcdef", seed=1, turn=1)
    )


def test_orders_belong_to_names():
    straight = visiting_orders("abcd", "abcd", seed=3, turn=7)
    order = [2, 0, 3, 1]
    names = ["abcd"[place] for place in order]
    turned = visiting_orders("dbca", names, seed=3, turn=7)
    for row, place in enumerate(order):
        assert [names[other] for other in turned[row]] == ["abcd"[other] for other in straight[place]]
    without = visiting_orders("abcd", "acd", seed=3, turn=7)
    assert [["acd"[o] for o in row] for row in without] == [
        ["abcd"[o] for o in straight["abcd".index(n)] if o != 1] for n in "acd"
    ]


def test_the_state_of_torch_is_left_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    weigh(PCGrad(NAMES[:3]), torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.rand(3), wanted)
