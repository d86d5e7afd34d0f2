"""Weights that stay."""

import math

import pytest
import torch

from polytask.balancers import Fixed
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(lambda tasks: Fixed(tasks, weights={"click": 0.3} if "click" in tasks else {}))


def test_each_weight_goes_to_its_own_task_whatever_the_order():
    x = torch.tensor([2.0, 3.0, 5.0], requires_grad=True)
    losses = {"c": x[2] ** 2, "a": x[0] ** 2}
    balance = Fixed(["a", "b", "c"], weights={"c": 10.0, "a": 0.5}).backward(losses)
    torch.testing.assert_close(x.grad, torch.tensor([0.5 * 4.0, 0.0, 10 * 10.0]))
    assert {name: weight.item() for name, weight in balance.weights.items()} == {"c": 10.0, "a": 0.5}


def test_a_weight_of_zero_trains_nothing():
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    Fixed(["a", "b"], weights={"a": 0.0}).backward({"a": x[0] ** 2, "b": x[1] ** 2})
    assert x.grad.tolist() == [0.0, 6.0]


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"by": 1.0}, "'by'.*Did you mean 'buy'"),
        ({"buy": -0.5}, "'buy'.*-0.5"),
        ({"buy": math.nan}, "'buy'.*nan"),
        ({"buy": 0.0, "click": 0.0}, "above 0"),
    ],
)
def test_mistakes_are_named(weights, text):
    with pytest.raises(ConfigError, match=text):
        Fixed(["click", "buy"], weights=weights)
