"""Weights that change by a factor each epoch."""

import pytest
from leaves import weights

from polytask.balancers import GainSchedule
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(lambda tasks: GainSchedule(tasks, gains={"click": 0.3} if "click" in tasks else {}), scale="equivariant")


def test_weights_after_three_epochs():
    balancer = GainSchedule(["a", "b", "c"], weights={"a": 0.6, "b": 2.0}, gains={"a": 0.5, "c": 1.1})
    assert weights(balancer, c=1.0, a=3.0, b=2.0) == pytest.approx({"a": 0.6, "b": 2.0, "c": 1.0})
    for _ in range(3):
        weights(balancer, a=1.0, b=1.0)
        balancer.after_epoch()
    assert weights(balancer, c=1.0, a=3.0, b=2.0) == pytest.approx({"a": 0.6 * 0.5**3, "b": 2.0, "c": 1.1**3})
    assert weights(balancer, c=1.0) == pytest.approx({"c": 1.1**3})


def test_the_epoch_is_state_and_the_declared_numbers_are_not():
    balancer = GainSchedule(["a", "b"], gains={"a": 0.5})
    balancer.after_epoch()
    restored = GainSchedule(["b", "a"], gains={"a": 0.1})
    restored.load_state_dict(balancer.state_dict())
    assert weights(restored, a=1.0, b=1.0) == pytest.approx({"a": 0.1, "b": 1.0})
    assert list(balancer.state_dict()) == ["epoch"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weights": {"by": 1.0}}, "weight.*'by'.*Did you mean 'buy'"),
        ({"gains": {"clik": 1.0}}, "gain.*'clik'.*Did you mean 'click'"),
        ({"gains": {"buy": -0.5}}, "gain.*'buy'.*-0.5"),
    ],
)
def test_mistakes_are_named(options, text):
    with pytest.raises(ConfigError, match=text):
        GainSchedule(["click", "buy"], **options)
