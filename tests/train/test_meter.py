"""Losses stay on the device until somebody looks."""

import math

import pytest
import torch

from polytask.balancers import Balance
from polytask.train._meter import Failure, Meter


def balance(**losses):
    return Balance({name: torch.tensor(value) for name, value in losses.items()}, {name: torch.tensor(2.0) for name in losses})


def test_a_task_is_averaged_over_the_batches_that_have_it():
    meter = Meter()
    meter.add(1, [balance(click=1.0, buy=10.0)], num_rows=8)
    meter.add(2, [balance(click=2.0)], num_rows=8)
    meter.add(3, [balance(buy=20.0), balance(click=6.0)], num_rows=16)
    assert meter.means() == {"loss": {"click": 3.0, "buy": 15.0}, "weight": {"click": 2.0, "buy": 2.0}}
    assert meter.num_rows == 32
    meter.clear()
    assert meter.means() == {"loss": {}, "weight": {}}


def test_looking_copies_once_however_many_steps_there_were(monkeypatch):
    copies = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: copies.append(tensor.shape) or original(tensor))
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: pytest.fail("a single number was read"))
    meter = Meter()
    for step in range(50):
        meter.add(step, [balance(click=1.0, buy=2.0)], num_rows=8)
    assert copies == []
    meter.first_failure()
    meter.means()
    assert copies == [(200,)]


def test_the_first_loss_that_is_no_number_is_found_with_its_step():
    meter = Meter()
    meter.add(4, [balance(click=1.0, buy=1.0)], num_rows=8)
    assert meter.first_failure() is None
    meter.add(5, [balance(click=1.0, buy=math.inf)], num_rows=8)
    meter.add(6, [balance(click=math.nan, buy=math.nan)], num_rows=8)
    assert meter.first_failure() == Failure(5, {"buy": math.inf})


def test_an_interval_goes_on_after_a_resume():
    meter, other = Meter(), Meter()
    meter.add(1, [balance(click=0.1)], num_rows=8)
    other.load_state_dict(meter.state_dict())
    for one in (meter, other):
        one.add(2, [balance(click=0.2)], num_rows=8)
    assert meter.means() == other.means()
    assert meter.means()["loss"]["click"] == pytest.approx(0.15)
    assert other.num_rows == 16
