"""GradDrop: signs, odds, leaks, draws of its own."""

import pytest
import torch

from polytask.balancers import GradDrop
from polytask.errors import ConfigError
from polytask.testing import check_balancer

ROWS = torch.tensor([[3.0, -2.0, 1.0, 0.0], [1.0, -1.0, -3.0, 2.0], [2.0, -4.0, 1.0, -2.0]])
THREE = ("a", "b", "c")


def combine(balancer, rows, names=THREE):
    rows = torch.as_tensor(rows)
    kept, weights = balancer.combine({0: rows}, torch.ones(len(rows), dtype=torch.bool), names)
    return kept[0], weights


def test_contract():
    check_balancer(GradDrop, absent_changes_others=True)


def test_contract_at_parameters_with_a_leak():
    def make(tasks):
        return GradDrop(tasks, measure="parameters", leak={name: 0.3 for name in tasks if name == "time"})

    check_balancer(make, absent_changes_others=True)


def test_each_coordinate_is_the_sum_of_the_parts_of_one_sign():
    balancer, seen = GradDrop(THREE), set()
    for _ in range(40):
        kept, _ = combine(balancer, ROWS)
        assert kept[:2].tolist() == [6.0, -7.0]  # where signs agree: the sum
        assert kept[2].item() in (2.0, -3.0)
        assert kept[3].item() in (2.0, -2.0)
        seen.add(tuple(kept.tolist()))
    assert len(seen) == 4  # the coordinates are drawn apart


def test_odds_are_those_of_the_purity():
    """P = ½ (1 + Σg / Σ|g|) = ½ (1 - 1 / 5) = 0.4 for +2 and -3; 3000 draws stay within .036 but for four deviations."""
    kept, _ = combine(GradDrop(THREE), ROWS[:, 2:3].expand(3, 3000))
    assert set(kept.tolist()) == {2.0, -3.0}
    assert (kept > 0).float().mean().item() == pytest.approx(0.4, abs=0.036)


def test_agreeing_signs_are_the_plain_sum_in_every_draw():
    """Also for a draw of exactly 0, which a comparison the other way round would drop."""
    rows = torch.cat([torch.rand(3, 20000) + 0.1, -torch.rand(3, 20000) - 0.1], 1)
    kept, weights = combine(GradDrop(THREE), rows)
    torch.testing.assert_close(kept, rows.sum(0))
    assert weights.tolist() == [1.0] * 3


def test_a_leak_of_one_is_the_plain_sum_and_a_leak_of_one_task_is_its_share():
    kept, weights = combine(GradDrop(THREE, leak=dict.fromkeys(THREE, 1.0)), ROWS)
    torch.testing.assert_close(kept, ROWS.sum(0))
    assert weights.tolist() == pytest.approx([1.0] * 3)
    balancer = GradDrop(THREE, leak={"b": 0.25})
    values = {round(combine(balancer, ROWS)[0][2].item(), 4) for _ in range(30)}
    assert values == {2.0 - 0.75, -3.0}  # b's -3 leaks by a quarter where the positive sign is drawn


def test_the_weight_is_the_share_of_the_squared_gradient_that_passed():
    balancer = GradDrop(("a", "b"))
    for _ in range(5):
        kept, weights = combine(balancer, [[3.0, 1.0], [3.0, -2.0]], ("a", "b"))
        wanted = [1.0, 9 / 13] if kept[1] > 0 else [9 / 10, 1.0]
        assert weights.tolist() == pytest.approx(wanted)


def test_the_order_of_tasks_does_not_matter_and_torch_has_no_say():
    torch.manual_seed(0)
    one, other = GradDrop(THREE), GradDrop(("c", "a", "b"))
    for _ in range(3):
        torch.rand(5)
        kept, weights = combine(one, ROWS)
        found, turned = combine(other, ROWS[[2, 0, 1]], ("c", "a", "b"))
        torch.testing.assert_close(found, kept)
        torch.testing.assert_close(turned, weights[[2, 0, 1]])


def test_draws_go_on_after_a_resume():
    wide = ROWS[:, 2:].repeat(1, 50)
    balancer, other = GradDrop(THREE), GradDrop(THREE)
    first, _ = combine(balancer, wide)
    other.load_state_dict(balancer.state_dict())
    second, _ = combine(balancer, wide)
    assert torch.equal(second, combine(other, wide)[0])
    assert not torch.equal(first, second)


def test_a_task_alone_and_a_zero_gradient():
    kept, weights = combine(GradDrop(["a"]), [[3.0, -2.0, 0.0]], ("a",))
    assert kept.tolist() == [3.0, -2.0, 0.0]
    assert weights.tolist() == [1.0]
    kept, weights = combine(GradDrop(THREE), torch.zeros(3, 4))
    assert not kept.any()
    assert weights.tolist() == [1.0] * 3


def test_each_row_of_the_junction_is_drawn_apart_and_expands_are_seen_through():
    z = torch.ones(500, 2, requires_grad=True)
    outputs = z.expand(2, 500, 2)
    losses = {"a": outputs[0].sum(), "b": -outputs[1].sum()}
    GradDrop(["a", "b"]).backward(losses)
    assert set(z.grad.unique().tolist()) == {-1.0, 1.0}
    assert len({tuple(row) for row in z.grad.tolist()}) == 4


def test_has_the_values_and_the_mean_of_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    torch.manual_seed(0)
    rows = ROWS[:, 2:].repeat_interleave(1500, 1)
    leak = torch.tensor([0.5, 0.0, 0.1])
    theirs = aggregation.GradDrop(leak=leak)(rows)
    ours, _ = combine(GradDrop(THREE, leak={"a": 0.5, "c": 0.1}), rows)
    for part in (slice(0, 1500), slice(1500, 3000)):
        torch.testing.assert_close(ours[part].unique(), theirs[part].unique())
        deviation = theirs[part].std().item() / 1500**0.5
        assert abs(ours[part].mean() - theirs[part].mean()).item() < 4 * 2**0.5 * deviation


def test_mistakes_are_named():
    for leak in ({"a": 1.5}, {"a": -0.1}, {"d": 0.1}):
        with pytest.raises(ConfigError, match=r"leak"):
            GradDrop(THREE, leak=leak)
