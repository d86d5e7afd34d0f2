"""The sum of logarithms: each loss is divided by itself."""

import pytest
import torch
from leaves import weights

from polytask.balancers import Logarithmic
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(Logarithmic, single_task_is_plain=False, scale="invariant")


def test_weights_are_inverses():
    assert weights(Logarithmic(["a", "b"]), b=4.0, a=0.02) == pytest.approx({"a": 50.0, "b": 0.25})


def test_a_unit_changes_no_gradient():
    x, gradients = torch.tensor([0.7, -1.2], requires_grad=True), []
    for unit in (1.0, 1000.0):
        x.grad = None
        Logarithmic(["a", "b"]).backward({"a": (x**2).sum(), "b": unit * (x[0] - x[1]) ** 2})
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("tiny", [0.0, 1e-9, -3.0])
def test_a_loss_under_the_floor_counts_as_the_floor_and_is_minimised(tiny):
    assert weights(Logarithmic(["a", "b"], floor=0.01), a=tiny, b=2.0) == pytest.approx({"a": 100.0, "b": 0.5})


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"`floor`.*0"):
        Logarithmic(["a"], floor=0.0)
