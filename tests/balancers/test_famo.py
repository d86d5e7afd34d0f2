"""FAMO: the published update, equal rates of log loss, an exact resume, and a second look that sees the step alone."""

import copy
import itertools
import math

import pytest
import torch
from leaves import leaves, weights

from polytask.balancers import FAMO
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(FAMO, absent_changes_others=True, scale="invariant")


def step(balancer, before, after):
    """One step that changes some losses; the weights that it had."""
    found = weights(balancer, **before)
    balancer.after_step(lambda: {name: torch.tensor(float(after[name])) for name in before})
    return found


def test_weights_and_update_are_those_of_the_formula():
    """A twin of the published loop: softmax, logarithms, torch's Adam with decay."""
    names = ["a", "b", "c"]
    torch.manual_seed(0)
    balancer, xi = FAMO(names), torch.zeros(3, requires_grad=True)
    adam = torch.optim.Adam([xi], lr=0.025, weight_decay=1e-3)
    losses = torch.tensor([0.5, 20.0, 3.0])
    for _ in range(30):
        after = losses * (0.8 + 0.3 * torch.rand(3))
        with torch.no_grad():
            z = torch.softmax(xi, 0)
            expected = 3 * z / losses / (z / losses).sum()
        found = step(balancer, dict(zip(names, losses.tolist(), strict=True)), dict(zip(names, after.tolist(), strict=True)))
        assert list(found.values()) == pytest.approx(expected.tolist(), rel=1e-4)
        adam.zero_grad()
        torch.softmax(xi, 0).backward(losses.log() - after.log())
        adam.step()
        torch.testing.assert_close(balancer.logits.value, xi.detach(), rtol=1e-4, atol=1e-6)
        losses = after
    assert xi.abs().max() > 0.01


def test_is_k_times_torchjd():
    scalarization = pytest.importorskip("torchjd.scalarization", reason="TorchJD is not installed")
    torch.manual_seed(0)
    other, balancer = scalarization.FAMO(2), FAMO(["a", "b"])
    for before, after in (torch.rand(6, 2, 2) + 0.1).tolist():
        losses = torch.tensor(before, requires_grad=True)
        other(losses).backward()
        other.update(torch.tensor(after))
        found = step(balancer, dict(zip("ab", before, strict=True)), dict(zip("ab", after, strict=True)))
        assert list(found.values()) == pytest.approx((2 * losses.grad).tolist(), rel=1e-4)


def test_two_tasks_of_unlike_scale_and_speed_fall_at_one_rate():
    """Each task pulls x its own way; the plain sum follows the greater loss, FAMO lowers the logarithms alike."""

    def falls(balance):
        x = torch.tensor([0.0], requires_grad=True)

        def losses():
            return {"a": 100 * ((x - 3) ** 2 + 1).sum(), "b": 0.1 * ((x - 4) ** 2 + 1).sum()}

        start = {name: loss.item() for name, loss in losses().items()}
        optimizer = torch.optim.SGD([x], lr=0.004)
        for _ in range(900):
            optimizer.zero_grad()
            balance.backward(losses())
            optimizer.step()
            balance.after_step(losses)
        return x.item(), {name: math.log(start[name] / loss.item()) for name, loss in losses().items()}

    place, fall = falls(FAMO(["a", "b"]))
    assert abs(fall["a"] - fall["b"]) < 0.15 * fall["a"]
    assert 3.2 < place < 3.8


def test_a_slower_task_gains_weight():
    balancer = FAMO(["a", "b"])
    shares = [step(balancer, {"a": 1.0, "b": 1.0}, {"a": 0.5, "b": 0.9})["b"] for _ in range(20)]
    assert all(later > earlier for earlier, later in itertools.pairwise(shares))
    assert shares[0] == 1.0


def test_an_absent_task_keeps_everything_and_the_others_learn():
    balancer = FAMO(["a", "b", "c"])
    step(balancer, {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 0.5, "b": 1.9, "c": 1.0})
    before = copy.deepcopy(balancer.state_dict())
    step(balancer, {"c": 1.0, "a": 2.0}, {"c": 0.9, "a": 0.1})
    after = balancer.state_dict()
    own = [name for name in after if name.endswith("task_b")]
    assert len(own) == 4
    assert all(torch.equal(before[name], after[name]) for name in own)
    assert all(not torch.equal(before[name], after[name]) for name in after if not name.endswith("task_b"))


@pytest.mark.parametrize("broken", ["before", "after"])
def test_a_loss_that_is_no_number_leaves_the_others_learning(broken):
    balancer = FAMO(["a", "b", "c"])
    values = [{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 0.5, "b": 1.9, "c": 1.0}]
    step(balancer, *values)
    before = copy.deepcopy(balancer.state_dict())
    twin = copy.deepcopy(balancer)
    values[broken == "after"]["b"] = math.nan
    found = balancer.backward(leaves(**values[0])).weights
    balancer.after_step(lambda: {name: torch.tensor(value) for name, value in values[1].items()})
    step(twin, *({name: value[name] for name in "ac"} for value in values))
    if broken == "before":
        assert sum(found[name].item() for name in "ac") == pytest.approx(2.0)
    for name, value in balancer.state_dict().items():
        torch.testing.assert_close(value, before[name] if name.endswith("task_b") else twin.state_dict()[name])


@pytest.mark.parametrize("tiny", [0.0, -2.0])
def test_a_loss_under_the_floor_counts_as_the_floor_and_is_minimised(tiny):
    balancer = FAMO(["a", "b"], floor=0.01)
    assert step(balancer, {"a": tiny, "b": 0.03}, {"a": tiny, "b": 0.03}) == pytest.approx({"a": 1.5, "b": 0.5})
    torch.testing.assert_close(balancer.logits.value, torch.zeros(2), rtol=0, atol=1e-3)  # nothing moved, so nothing is learnt


def test_moments_come_back_in_another_order_bit_for_bit():
    balancer = FAMO(["a", "b", "c"])
    for number in range(5):
        step(balancer, {"a": 1.0, "b": 2.0, "c": 3.0 + number}, {"a": 0.5, "b": 1.9, "c": 4.0})
    restored = FAMO(["c", "a", "b"])
    restored.load_state_dict(balancer.state_dict())
    for number in range(3):
        values = {"a": 1.0 + number, "b": 2.0, "c": 3.0}, {"a": 0.5, "b": 2.9, "c": 1.0}
        assert step(restored, *values) == step(balancer, *values)
    assert all(torch.equal(value, restored.state_dict()[name]) for name, value in balancer.state_dict().items())


def test_a_second_look_without_a_first_or_at_another_batch():
    balancer = FAMO(["a", "b"])
    balancer.after_step(lambda: pytest.fail("nothing was seen, so nothing is to be looked at"))
    balancer.backward(leaves(a=1.0, b=2.0))
    with pytest.raises(ConfigError, match=r"batch of the last.*\['a'\].*\['a', 'b'\]"):
        balancer.after_step(lambda: {"a": torch.tensor(1.0)})


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"`lr`.*0"):
        FAMO(["a"], lr=0.0)
    with pytest.raises(ConfigError, match=r"`decay`.*-1"):
        FAMO(["a"], decay=-1.0)
