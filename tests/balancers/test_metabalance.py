"""MetaBalance: lengths parameter by parameter, the official recursion, its limits, late and missing tasks."""

import pytest
import torch

from polytask.balancers import MetaBalance
from polytask.errors import ConfigError
from polytask.testing import check_balancer

THREE = ("buy", "click", "like")
ALL = torch.ones(3, dtype=torch.bool)


def draw(generator):
    """Gradients of two parameters, with lengths far apart."""
    return {
        2: torch.randn(3, 4, generator=generator) * torch.tensor([[1.0], [50.0], [0.1]]),
        5: torch.randn(3, 2, generator=generator),
    }


@pytest.mark.parametrize("measure", ["parameters", "junction"])
def test_contract(measure):
    """Where the main task was never there, it is the plain sum."""

    def make(tasks):
        main, relax = ("buy", 0.7) if "buy" in tasks else (tasks[0], 0.0)
        return MetaBalance(tasks, main=main, relax=relax, measure=measure)

    check_balancer(make, absent_changes_others=True)


def test_follows_the_official_recursion():
    """`m = .9 m + .1 |g|` from zero, then `r g m_main / m + (1 - r) g`, summed."""
    balancer, generator = MetaBalance(THREE, main="buy", relax=0.7, beta=0.9), torch.Generator().manual_seed(0)
    lengths = {2: torch.zeros(3), 5: torch.zeros(3)}
    for _ in range(4):
        rows = draw(generator)
        kept, _ = balancer.combine(rows, ALL, THREE)
        for place, g in rows.items():
            lengths[place] = 0.9 * lengths[place] + 0.1 * g.norm(dim=1)
            scaled = [0.7 * g[k] * lengths[place][0] / lengths[place][k] + 0.3 * g[k] for k in range(3)]
            torch.testing.assert_close(kept[place], sum(scaled), rtol=1e-4, atol=1e-5)


def test_without_relaxing_it_is_the_plain_sum():
    rows = draw(torch.Generator().manual_seed(0))
    kept, weights = MetaBalance(THREE, main="buy", relax=0.0).combine(rows, ALL, THREE)
    for place, g in rows.items():
        torch.testing.assert_close(kept[place], g.sum(0))
    assert weights.tolist() == pytest.approx([1.0] * 3)


def test_relaxed_fully_and_without_memory_all_lengths_are_the_main_task_s():
    balancer = MetaBalance(THREE, main="click", relax=1.0, beta=0.0)
    for rows in (draw(torch.Generator().manual_seed(seed)) for seed in range(3)):
        kept, weights = balancer.combine(rows, ALL, THREE)
        for place, g in rows.items():
            unit = g / g.norm(dim=1, keepdim=True)
            torch.testing.assert_close(kept[place], unit.sum(0) * g[1].norm(), rtol=1e-4, atol=1e-5)
        whole = torch.cat(list(rows.values()), 1).norm(dim=1)
        torch.testing.assert_close(weights.float() * whole, whole[1].expand(3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_unit_of_an_auxiliary_loss_does_not_matter_where_lengths_are_brought_all_the_way(scale):
    rows = draw(torch.Generator().manual_seed(0))
    other = {place: g * torch.tensor([[1.0], [scale], [1.0]]) for place, g in rows.items()}
    found, wanted = (MetaBalance(THREE, main="buy", relax=1.0).combine(r, ALL, THREE)[0] for r in (other, rows))
    for place in rows:
        torch.testing.assert_close(found[place], wanted[place], rtol=1e-4, atol=1e-5)


def test_a_late_task_is_not_taken_for_one_of_short_gradients():
    balancer, rows = MetaBalance(("a", "b"), main="a", relax=1.0), {0: torch.tensor([[2.0, 0.0], [0.0, 2.0]])}
    for _ in range(30):
        balancer.combine({0: rows[0][:1]}, ALL[:1], ("a",))
    assert balancer.combine(rows, ALL[:2], ("a", "b"))[0][0].tolist() == pytest.approx([2.0, 2.0], rel=1e-5)


def test_without_the_main_task_its_last_length_holds_and_before_its_first_nothing_is_scaled():
    balancer, rows = MetaBalance(("a", "b"), main="a", relax=1.0), {0: torch.tensor([[3.0, 0.0], [0.0, 1.0]])}
    assert balancer.combine({0: rows[0][1:]}, ALL[:1], ("b",))[0][0].tolist() == [0.0, 1.0]
    balancer.combine(rows, ALL[:2], ("a", "b"))
    before = balancer.lengths.at(["a"])
    assert balancer.combine({0: rows[0][1:]}, ALL[:1], ("b",))[0][0].tolist() == pytest.approx([0.0, 3.0])
    assert torch.equal(balancer.lengths.at(["a"]), before)


def test_a_lost_task_keeps_its_lengths_and_counts_for_nothing():
    balancer, rows = MetaBalance(THREE, main="buy"), draw(torch.Generator().manual_seed(0))
    balancer.combine(rows, ALL, THREE)
    before = balancer.lengths.at(["click"])
    lost = {place: g * torch.tensor([[1.0], [0.0], [1.0]]) for place, g in rows.items()}
    kept, _ = balancer.combine(lost, torch.tensor([True, False, True]), THREE)
    assert torch.equal(balancer.lengths.at(["click"]), before)
    assert all(block.isfinite().all() for block in kept.values())


def test_a_parameter_that_the_main_task_does_not_reach_stays_as_it_is():
    rows = {0: torch.tensor([[0.0, 0.0], [0.0, 7.0]]), 1: torch.tensor([[1.0], [5.0]])}
    kept, _ = MetaBalance(("a", "b"), main="a", relax=1.0).combine(rows, ALL[:2], ("a", "b"))
    assert kept[0].tolist() == [0.0, 7.0]
    assert kept[1].tolist() == pytest.approx([2.0])


def test_resumes_in_another_order():
    one, other = MetaBalance(THREE, main="buy"), MetaBalance(("like", "buy", "click"), main="buy")
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        one.combine(draw(generator), ALL, THREE)
    other.load_state_dict(one.state_dict())
    rows = draw(generator)
    turned = {place: g[[2, 0, 1]] for place, g in rows.items()}
    wanted, found = one.combine(rows, ALL, THREE)[0], other.combine(turned, ALL, ("like", "buy", "click"))[0]
    for place in rows:
        torch.testing.assert_close(found[place], wanted[place])


def test_sparse_gradients_of_tables_are_scaled_by_touched_rows():
    table, x = torch.nn.Embedding(9, 2, sparse=True), torch.tensor([1, 4, 4])
    balancer = MetaBalance(("a", "b"), main="a", relax=1.0)
    for rows in (x, x[:2]):  # fewer touched rows are another number of gradients, and the same length of one
        table.zero_grad()
        z = table(rows)
        balancer.backward({"a": z[:, 0].sum(), "b": 10 * z[:, 1].sum()}, junction=(z,))
        found = table.weight.grad.to_dense()
        assert found[:, 1].tolist() == pytest.approx(found[:, 0].tolist(), rel=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"main task.*'bye'.*buy"):
        MetaBalance(THREE, main="bye")
    for options in ({"relax": 1.1}, {"relax": -0.1}, {"beta": 1.0}):
        with pytest.raises(ConfigError):
            MetaBalance(THREE, main="buy", **options)
