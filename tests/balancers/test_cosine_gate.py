"""The cosine gate: both forms by hand, main tasks, steps without them."""

import pytest
import torch
from featured import step

from polytask.balancers import CosineGate
from polytask.balancers.measures import Measured
from polytask.errors import ConfigError
from polytask.testing import check_balancer

ROWS = torch.tensor([[2.0, 0.0, 0.0], [3.0, 4.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 5.0]])  # cosines .6, -.71 and 0
FOUR = ("buy", "click", "like", "share")


@pytest.mark.parametrize("weighted", [True, False])
def test_contract(weighted):
    """Without one of two main tasks the other one is the measure; without both, no cosine is known."""

    def make(tasks):
        return CosineGate(tasks, main=[name for name in tasks if name != "time"] or tasks, weighted=weighted)

    check_balancer(make, absent_changes_others=True)


def test_weighted_and_unweighted_by_hand():
    assert step(CosineGate(FOUR, main=["buy"]), ROWS).tolist() == pytest.approx([1.0, 0.6, 0.0, 0.0])
    assert step(CosineGate(FOUR, main=["buy"], weighted=False), ROWS).tolist() == [1.0, 1.0, 0.0, 1.0]


def test_several_main_tasks_count_as_their_sum():
    """`buy + like` is (1, 1, 0): the cosine of click with it is 7 / (5 sqrt 2); like itself is never gated."""
    found = step(CosineGate(FOUR, main=["buy", "like"]), ROWS)
    assert found.tolist() == pytest.approx([1.0, 7 / (5 * 2**0.5), 1.0, 0.0])


@pytest.mark.parametrize("scale", [1e-12, 1e9])
def test_lengths_do_not_matter(scale):
    scales = torch.tensor([scale, 1.0, 1 / scale, 3.0])[:, None]
    assert step(CosineGate(FOUR, main=["buy"]), scales * ROWS).tolist() == pytest.approx([1.0, 0.6, 0.0, 0.0])


def test_the_main_task_is_not_harmed():
    """To first order: `<d, g_main> >= |g_main|²`."""
    generator = torch.Generator().manual_seed(0)
    for weighted in (True, False):
        for _ in range(20):
            rows = torch.randn(4, 3, generator=generator, dtype=torch.float64)
            d = step(CosineGate(FOUR, main=["buy"], weighted=weighted), rows) @ rows
            assert d @ rows[0] >= rows[0] @ rows[0] - 1e-9


def gated(balancer, names, rows):
    x = torch.nn.Parameter(torch.zeros(3))
    losses = {name: row @ x for name, row in zip(names, rows, strict=True)}
    return {name: round(weight.item(), 4) for name, weight in balancer.backward(losses, shared=[x]).weights.items()}


def test_without_a_main_task_the_last_gates_hold():
    balancer = CosineGate(FOUR, main=["buy"], measure="parameters")
    assert gated(balancer, ("click", "like"), ROWS[1:3]) == {"click": 1.0, "like": 1.0}
    gated(balancer, FOUR, ROWS)
    assert gated(balancer, ("like", "click"), ROWS[[2, 1]]) == {"like": 0.0, "click": 0.6}
    assert gated(balancer, ("buy", "click", "like"), [0 * ROWS[0], ROWS[2], ROWS[1]]) == {"buy": 1.0, "click": 0.6, "like": 0.0}


def test_a_main_task_that_a_device_lost_is_none():
    balancer, finite = CosineGate(FOUR, main=["buy"]), torch.tensor([False, True, True, True])
    gramian = torch.block_diag(torch.eye(1), ROWS[1:] @ ROWS[1:].T)  # as it stands in for a lost task
    found = balancer.weigh(Measured(gramian, (), None, (), finite), torch.ones(4), FOUR)
    assert found[1:].tolist() == [1.0, 1.0, 1.0]


def test_mistakes_are_named():
    for main, match in (("buy", "lists at least one"), ([], "lists at least one"), (["bye"], "unknown task.*'bye'.*buy")):
        with pytest.raises(ConfigError, match=match):
            CosineGate(FOUR, main=main)
