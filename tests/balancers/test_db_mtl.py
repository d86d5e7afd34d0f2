"""DB-MTL: the published recursion, equal lengths, no memory at beta 0, a late task."""

import pytest
import torch
from featured import Noisy, step

from polytask.balancers import DBMTL
from polytask.errors import ConfigError
from polytask.testing import check_balancer

THREE, LOSSES = ("a", "b", "c"), torch.tensor([0.5, 8.0, 2.0], dtype=torch.float64)


def test_contract():
    check_balancer(DBMTL, single_task_is_plain=False, absent_changes_others=True)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_weights_are_those_of_the_published_recursion(decay):
    """`g~ = g + β/t^σ (g~ - g)` from zero with gradients of log L, then `max |g~| / |g~_k|` times the gradient of log L."""
    balancer, noisy, average = DBMTL(THREE, beta=0.9, decay=decay), Noisy(), torch.zeros(3, 6, dtype=torch.float64)
    for time in range(1, 6):
        rows = noisy.draw()
        found = step(balancer, rows, LOSSES)
        logs = rows / LOSSES[:, None]
        average = logs + 0.9 / time**decay * (average - logs)
        lengths = average.norm(dim=1)
        torch.testing.assert_close(found, lengths.max() / lengths / LOSSES, rtol=1e-5, atol=1e-7)


def test_without_memory_all_gradients_of_logarithms_have_the_greatest_length():
    balancer, noisy = DBMTL(THREE, beta=0.0), Noisy()
    for _ in range(3):
        rows = noisy.draw()
        weighted = step(balancer, rows, LOSSES)[:, None] * rows
        longest = (rows / LOSSES[:, None]).norm(dim=1).max()
        torch.testing.assert_close(weighted.norm(dim=1), longest.expand(3), rtol=1e-5, atol=1e-7)


def test_the_unit_of_one_loss_does_not_matter():
    rows, unit = Noisy().draw(), torch.tensor([1.0, 1000.0, 1.0], dtype=torch.float64)
    one, other = step(DBMTL(THREE), rows, LOSSES), step(DBMTL(THREE), unit[:, None] * rows, unit * LOSSES)
    torch.testing.assert_close(other * unit, one, rtol=1e-5, atol=1e-7)


def test_a_late_task_is_not_taken_for_one_of_small_gradients():
    """From zero, its average would be a tenth of its gradient, and its weight ten times what it is."""
    rows, balancer = torch.eye(3, 6), DBMTL(THREE, beta=0.9)
    for _ in range(30):
        step(balancer, rows[:2], names=("a", "b"))
    assert step(balancer, rows).tolist() == pytest.approx([1.0, 1.0, 1.0], rel=1e-5)


def test_a_task_alone_follows_its_logarithm():
    assert step(DBMTL(["a"]), torch.ones(1, 6), [4.0]).item() == pytest.approx(0.25)


def test_a_loss_of_zero_counts_as_the_floor():
    found = step(DBMTL(THREE, beta=0.0, floor=0.1), torch.eye(3, 6), [0.0, 1.0, -3.0])
    assert found.tolist() == pytest.approx([10.0, 10.0, 10.0], rel=1e-5)


def test_a_memory_that_takes_nothing_up_is_refused():
    with pytest.raises(ConfigError, match="below 1"):
        DBMTL(THREE, beta=1.0)
