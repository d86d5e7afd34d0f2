"""Weights from a hand-made history of epoch means."""

import math

import pytest
import torch
from leaves import leaves, weights

from polytask.balancers import DynamicAverage
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(DynamicAverage, scale="equivariant")


def epochs(balancer, *history):
    """Several epochs; an epoch is a list of batches, a batch a dict of losses."""
    for epoch in history:
        for batch in epoch:
            weights(balancer, **batch)
        balancer.after_epoch()


def published(ratios, temperature=2.0):
    powers = {name: math.exp(ratio / temperature) for name, ratio in ratios.items()}
    return {name: len(ratios) * power / sum(powers.values()) for name, power in powers.items()}


def test_weights_follow_the_ratio_of_the_last_two_epoch_means():
    balancer = DynamicAverage(["a", "b", "c"])
    everywhere = {"a": 1.0, "b": 1.0, "c": 1.0}
    assert weights(DynamicAverage(["a", "b", "c"]), **everywhere) == everywhere
    epochs(balancer, [{"a": 1.0, "b": 8.0, "c": 4.0}, {"a": 3.0, "b": 12.0, "c": 4.0}])  # means 2, 10, 4
    epochs(balancer, [{"a": 1.0, "b": 9.0, "c": 4.5}])
    expected = published({"a": 1 / 2, "b": 9 / 10, "c": 4.5 / 4})
    assert weights(balancer, c=3.0, a=1.0, b=8.0) == pytest.approx(expected)
    epochs(balancer, [{"a": 1.0, "b": 8.0}])  # with the batch above: means 1 and 8; c's is 3
    expected = published({"a": 1.0, "b": 8 / 9, "c": 3 / 4.5})
    assert weights(balancer, c=1.0, a=1.0, b=1.0) == pytest.approx(expected)


def test_the_temperature_flattens():
    history = [[{"a": 2.0, "b": 1.0}], [{"a": 1.0, "b": 1.0}]]
    for temperature in (0.3, 5.0):
        balancer = DynamicAverage(["b", "a"], temperature=temperature)
        epochs(balancer, *history)
        assert weights(balancer, a=1.0, b=1.0) == pytest.approx(published({"a": 0.5, "b": 1.0}, temperature))


def test_a_task_that_misses_an_epoch_keeps_its_ratio_and_its_mean():
    balancer = DynamicAverage(["a", "b"])
    epochs(balancer, [{"a": 2.0, "b": 4.0}], [{"a": 1.0, "b": 3.0}], [{"a": 1.0}])
    assert weights(balancer, a=1.0) == pytest.approx({"a": published({"a": 1.0, "b": 3 / 4})["a"]})
    epochs(balancer, [{"b": 1.0}])  # and a: 1, from the line above
    assert weights(balancer, b=1.0) == pytest.approx({"b": published({"a": 1.0, "b": 1 / 3})["b"]})


def test_a_loss_that_is_no_number_is_left_out_of_the_mean():
    balancer = DynamicAverage(["a", "b"])
    epochs(balancer, [{"a": 2.0, "b": 4.0}])
    for broken in (math.nan, math.inf):
        balancer.backward(leaves(a=1.0, b=broken))
    epochs(balancer, [{"a": 1.0, "b": 2.0}])
    assert weights(balancer, a=1.0, b=1.0) == pytest.approx(published({"a": 0.5, "b": 0.5}))


@pytest.mark.parametrize("tiny", [0.0, -5.0])
def test_means_under_the_floor_count_as_the_floor(tiny):
    balancer = DynamicAverage(["a", "b"], floor=0.1)
    epochs(balancer, [{"a": 0.2, "b": 4.0}], [{"a": tiny, "b": 4.0}])
    assert weights(balancer, a=1.0, b=1.0) == pytest.approx(published({"a": 0.5, "b": 1.0}))
    epochs(balancer, [{"a": tiny, "b": 4.0}])
    found = weights(balancer, a=1.0, b=1.0)
    assert found["b"] < found["a"], "means of a: -> .1, with the batch of 1.0 in it"
    assert sum(found.values()) == pytest.approx(2.0)


def test_the_means_of_a_broken_off_epoch_are_state():
    history = [[{"a": 2.0, "b": 5.0}], [{"a": 1.5, "b": 4.0}]]
    whole, broken = DynamicAverage(["a", "b"]), DynamicAverage(["a", "b"])
    for balancer in (whole, broken):
        epochs(balancer, *history)
        weights(balancer, a=1.0, b=7.0)
    resumed = DynamicAverage(["b", "a"])
    resumed.load_state_dict(broken.state_dict())
    for balancer in (whole, resumed):
        epochs(balancer, [{"a": 0.1, "b": 0.2}, {"b": 0.4}])
    assert weights(resumed, b=1.0, a=1.0) == pytest.approx(weights(whole, b=1.0, a=1.0))
    mean_b = (7.0 + 0.2 + 0.4) / 3
    assert weights(resumed, a=1.0, b=1.0) == pytest.approx(published({"a": 0.55 / 1.5, "b": mean_b / 4}), rel=1e-5)


def test_is_torchjd():
    scalarization = pytest.importorskip("torchjd.scalarization", reason="TorchJD is not installed")
    torch.manual_seed(0)
    other, balancer = scalarization.DWA(temperature=0.7), DynamicAverage(["a", "b", "c"], temperature=0.7)
    for _ in range(4):
        for values in (torch.rand(3, 3) + 0.2).tolist():
            losses = torch.tensor(values, requires_grad=True)
            other(losses).backward()
            found = weights(balancer, **dict(zip("abc", values, strict=True)))
            assert list(found.values()) == pytest.approx(losses.grad.tolist(), rel=1e-5)
        other.step()
        balancer.after_epoch()


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"`temperature`.*0"):
        DynamicAverage(["a"], temperature=0.0)
