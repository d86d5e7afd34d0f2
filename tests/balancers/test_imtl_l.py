"""Learned scales: the optimum is the inverse of the loss."""

import math

import pytest
import torch
from leaves import leaves, weights

from polytask.balancers import IMTLL
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(IMTLL, scale="none")
    check_balancer(lambda tasks: IMTLL(tasks, init=-0.5), single_task_is_plain=False)


def test_objective_and_gradients_are_those_of_the_formula():
    balancer = IMTLL(["a", "b"], init=0.4)
    assert weights(balancer, b=5.0, a=0.3) == pytest.approx({"a": math.exp(0.4), "b": math.exp(0.4)})
    assert balancer.log_scale("b").grad.item() == pytest.approx(math.exp(0.4) * 5.0 - 1)
    assert balancer.log_scale("a").grad.item() == pytest.approx(math.exp(0.4) * 0.3 - 1)


def test_learns_the_inverse_of_every_loss():
    given = {"a": 0.02, "b": 1.7, "c": 60.0}
    balancer = IMTLL(list(given))
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.1, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=400)
    for _ in range(400):
        optimizer.zero_grad()
        balance = balancer.backward(leaves(**given))
        optimizer.step()
        schedule.step()
    for name, loss in given.items():
        assert balance.weights[name].item() * loss == pytest.approx(1.0, rel=2e-3)


def test_a_task_without_error_stops_at_the_bound():
    balancer = IMTLL(["a"], bounds=(-3.0, 2.0))
    optimizer = torch.optim.SGD(balancer.parameters(), lr=1.0)
    for _ in range(6):
        optimizer.zero_grad()
        balance = balancer.backward(leaves(a=0.0))
        optimizer.step()
    assert balance.weights["a"].item() == pytest.approx(math.exp(2.0))
    with pytest.raises(ConfigError, match="init 3"):
        IMTLL(["a"], init=3.0, bounds=(-3.0, 2.0))


def test_is_torchjd():
    scalarization = pytest.importorskip("torchjd.scalarization", reason="TorchJD is not installed")
    other, balancer = scalarization.IMTLL(2), IMTLL(["a", "b"])
    steps = [torch.optim.SGD(one.parameters(), lr=0.1) for one in (other, balancer)]
    for number in range(4):
        values = {"a": 0.2 + number, "b": 5.0 - number}
        losses = torch.tensor(list(values.values()), requires_grad=True)
        for step in steps:
            step.zero_grad()
        other(losses).backward()
        assert list(weights(balancer, **values).values()) == pytest.approx(losses.grad.tolist())
        for step in steps:
            step.step()
