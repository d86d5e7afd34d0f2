"""The geometric mean: units do not matter, 64 losses do not underflow."""

import math

import pytest
import torch
from leaves import weights

from polytask.balancers import Geometric
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(Geometric, absent_changes_others=True, scale="invariant")


def test_weights_are_the_mean_over_each_loss():
    given = {"c": 2.0, "a": 0.5, "b": 9.0}
    mean = (2.0 * 0.5 * 9.0) ** (1 / 3)
    found = weights(Geometric(["a", "b", "c"]), **given)
    assert found == pytest.approx({name: mean / loss for name, loss in given.items()}, rel=1e-5)


def test_a_change_of_unit_keeps_the_direction():
    one = weights(Geometric(["a", "b"]), a=2.0, b=0.5)
    other = weights(Geometric(["a", "b"]), a=2.0, b=500.0)
    # The gradient of b is 1000 times as long by itself; both terms grow by the same root.
    assert other["a"] / one["a"] == pytest.approx(1000 * other["b"] / one["b"], rel=1e-5)


@pytest.mark.parametrize("loss", [1e-4, 1e4])
def test_many_losses_stay_in_range_where_a_product_does_not(loss):
    names = [f"t{number}" for number in range(64)]
    assert not 0 < torch.full((64,), loss).prod().item() < math.inf
    found = weights(Geometric(names), **dict.fromkeys(names, loss))
    assert list(found.values()) == pytest.approx([1.0] * 64, rel=1e-4)


@pytest.mark.parametrize("tiny", [0.0, 1e-9, -3.0])
def test_a_loss_under_the_floor_counts_as_the_floor_and_is_minimised(tiny):
    found = weights(Geometric(["a", "b"], floor=0.01), a=tiny, b=1.0)
    assert found == pytest.approx({"a": 0.1 / 0.01, "b": 0.1 / 1.0}, rel=1e-4)


def test_a_loss_that_is_no_number_is_left_out():
    found = weights_of_numbers(Geometric(["a", "b", "c"]), a=2.0, b=math.nan, c=0.5)
    assert found == pytest.approx({"a": 0.5, "c": 2.0})
    found = weights_of_numbers(Geometric(["a", "b", "c"]), a=2.0, b=math.inf, c=0.5)
    assert found == pytest.approx({"a": 0.5, "c": 2.0})


def weights_of_numbers(balancer, **values):
    losses = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    found = balancer.backward(losses).weights
    return {name: found[name].item() for name, value in values.items() if math.isfinite(value)}


def test_is_k_times_torchjd():
    scalarization = pytest.importorskip("torchjd.scalarization", reason="TorchJD is not installed")
    losses = torch.tensor([0.2, 5.0, 1.1], requires_grad=True)
    scalarization.GeometricMean()(losses).backward()
    found = weights(Geometric(["a", "b", "c"]), a=0.2, b=5.0, c=1.1)
    assert list(found.values()) == pytest.approx((3 * losses.grad).tolist(), rel=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"`floor`.*-1"):
        Geometric(["a"], floor=-1.0)
