import math

import pytest
import torch
from torch import nn

from polytask.errors import ConfigError
from polytask.optimizers import SCHEDULES, Schedule, build_optimizer
from polytask.sharing import PerTask


def optimizer(lr=2.0):
    return build_optimizer(PerTask({"click": nn.Linear(2, 1), "buy": nn.Linear(2, 1)}), nn.Identity(), lr=lr)


def factors(kind, total=100, warmup=0):
    schedule = Schedule(optimizer(), total_steps=total, kind=kind, warmup_steps=warmup)
    return [schedule.factor(step) for step in range(total + 1)]


def test_cosine_is_that_of_torch():
    parameter = nn.Parameter(torch.zeros(1))
    rival = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rival, T_max=100)
    for factor in factors("cosine"):
        assert factor == pytest.approx(rival.param_groups[0]["lr"], abs=1e-9)
        rival.step()
        schedule.step()


def test_forms_by_hand():
    assert set(factors("constant")) == {1.0}
    flat = factors("flat_cos")
    assert set(flat[:51]) == {1.0}
    assert flat[75] == pytest.approx(0.5)
    assert flat[100] == pytest.approx(0.0)
    cycles = factors("coslog4", total=1500)
    for period in range(5):  # zeros where 1 + 15 t is a power of 2
        assert cycles[round(100 * (2**period - 1))] == pytest.approx(0.0, abs=1e-9)
    assert cycles[round(100 * (2**2.5 - 1))] == pytest.approx(1.0, abs=1e-3)
    assert sum(a < b >= c for a, b, c in zip(cycles, cycles[1:], cycles[2:], strict=False)) == 4


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_warm_up_rises_linearly_then_the_form_begins(kind):
    found = factors(kind, total=110, warmup=10)
    start = SCHEDULES[kind](0.0)
    assert found[:10] == pytest.approx([start * (step + 1) / 10 for step in range(10)])
    assert found[10:] == pytest.approx(factors(kind, total=100))


def test_each_group_keeps_its_proportion_and_the_end_holds():
    held = optimizer({"shared": 1.0, "click": 0.5, "buy": 4.0})
    schedule = Schedule(held, total_steps=10)
    for _ in range(5):
        schedule.step()
    assert [group["lr"] for group in held.param_groups] == pytest.approx([0.25, 2.0])
    for _ in range(20):
        schedule.step()
    assert [group["lr"] for group in held.param_groups] == pytest.approx([0.0, 0.0])


def test_the_state_is_the_step():
    one, other = (Schedule(optimizer(), total_steps=30, warmup_steps=4) for _ in range(2))
    for _ in range(17):
        one.step()
    other.load_state_dict(one.state_dict())
    assert other.optimizer.param_groups[0]["lr"] == one.optimizer.param_groups[0]["lr"]
    assert one.optimizer.param_groups[0]["lr"] == pytest.approx(1 + math.cos(math.pi * 13 / 26))


def test_the_first_step_is_warm_already():
    held = optimizer()
    Schedule(held, total_steps=30, warmup_steps=4)
    assert held.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "match"),
    [({"kind": "cosin"}, "'cosine'"), ({"total_steps": 0}, "at least one step"), ({"warmup_steps": -1}, "warm-up")],
)
def test_mistakes(arguments, match):
    with pytest.raises(ConfigError, match=match):
        Schedule(optimizer(), **({"total_steps": 5} | arguments))
