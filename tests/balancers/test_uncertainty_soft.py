"""Softmax of inverse losses."""

import math

import pytest
from leaves import weights

from polytask.balancers import UncertaintySoft
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(UncertaintySoft, absent_changes_others=True, scale="none")
    check_balancer(lambda tasks: UncertaintySoft(tasks, temperature=30.0), absent_changes_others=True)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_weights_are_those_of_the_formula_times_their_number(temperature):
    given = {"c": 2.0, "a": 0.5, "b": 1.5}
    powers = {name: math.exp(1 / (temperature * loss)) for name, loss in given.items()}
    total = sum(powers.values())
    found = weights(UncertaintySoft(["a", "b", "c"], temperature=temperature), **given)
    assert found == pytest.approx({name: 3 * power / total for name, power in powers.items()})


def test_the_weights_have_no_gradient_of_their_own():
    """With one, the weight of the smaller loss would be pushed down: -w / (T L) d w."""
    assert weights(UncertaintySoft(["a", "b"]), a=1.0, b=1.0) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("tiny", [0.0, 1e-30, -2.0])
def test_a_loss_under_the_floor_counts_as_the_floor(tiny):
    balancer = UncertaintySoft(["a", "b"], floor=0.25)
    assert weights(balancer, a=tiny, b=1.0) == weights(balancer, a=0.25, b=1.0)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"`temperature`.*-1"):
        UncertaintySoft(["a"], temperature=-1.0)
    with pytest.raises(ConfigError, match=r"`floor`.*0"):
        UncertaintySoft(["a"], floor=0.0)
