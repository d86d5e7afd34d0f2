"""Liebel and Körner's form: its optimum, its weights, never negative."""

import math

import pytest
import torch
from leaves import leaves, weights

from polytask.balancers import UncertaintyRevised
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(UncertaintyRevised, scale="none")
    check_balancer(lambda tasks: UncertaintyRevised(tasks, init=1.5), single_task_is_plain=False)


def test_objective_and_gradients_are_those_of_the_formula():
    balancer, c2 = UncertaintyRevised(["a", "b"], init=0.4), math.exp(0.4)
    found = weights(balancer, b=5.0, a=0.3)
    assert found == pytest.approx({"a": 1 / (2 * c2), "b": 1 / (2 * c2)})
    # d/ds [L e^-s / 2 + ln(1 + e^s)]
    assert balancer.log_square("b").grad.item() == pytest.approx(-5.0 / (2 * c2) + c2 / (1 + c2))
    assert balancer.log_square("a").grad.item() == pytest.approx(-0.3 / (2 * c2) + c2 / (1 + c2))
    value = balancer.objective(torch.tensor([5.0, 0.3]), ("b", "a")).item()
    assert value == pytest.approx(5.3 / (2 * c2) + 2 * math.log(1 + c2))


def test_learns_the_closed_form_from_both_sides():
    given = {"a": 0.02, "b": 1.7, "c": 60.0}
    balancer = UncertaintyRevised(list(given))
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.1, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=300)
    for _ in range(300):
        optimizer.zero_grad()
        balancer.backward(leaves(**given))
        optimizer.step()
        schedule.step()
    for name, loss in given.items():
        optimum = (loss + math.sqrt(loss**2 + 8 * loss)) / 4
        assert math.exp(balancer.log_square(name).item()) == pytest.approx(optimum, rel=1e-3)


def test_is_never_negative_and_weighs_an_easy_task_less_than_plain_uncertainty():
    for loss in (1e-8, 1e-2, 1.0, 100.0):
        for s in (-6.0, -1.0, 0.0, 6.0):
            assert UncertaintyRevised(["a"], init=s).objective(torch.tensor([loss]), ("a",)).item() > 0
    loss = 1e-3
    optimum = (loss + math.sqrt(loss**2 + 8 * loss)) / 4
    assert 1 / (2 * optimum) == pytest.approx(1 / math.sqrt(2 * loss), rel=0.03)  # plain: 1 / loss = 1000


def test_a_start_outside_the_bounds_is_refused():
    with pytest.raises(ConfigError, match=r"init 9.0.*bounds \(-6.0, 6.0\)"):
        UncertaintyRevised(["a"], init=9.0)
