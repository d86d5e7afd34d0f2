"""The focal weight of a key performance value."""

import math

import pytest
from leaves import leaves, weights

from polytask.balancers import DynamicPriority
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(DynamicPriority, scale="none")
    check_balancer(lambda tasks: DynamicPriority(tasks, focus=3.0, rate=1.0))


def focal(kappas, focus):
    urgency = {name: -((1 - kappa) ** focus) * math.log(kappa) for name, kappa in kappas.items()}
    return {name: len(kappas) * value / sum(urgency.values()) for name, value in urgency.items()}


@pytest.mark.parametrize("focus", [0.0, 1.0, 2.5])
def test_weights_are_focal_weights_of_the_moving_performance(focus):
    balancer = DynamicPriority(["a", "b", "c"], focus=focus, rate=0.25)
    first = {"c": 2.0, "a": 0.1, "b": 0.7}
    kappas = {name: math.exp(-loss) for name, loss in first.items()}
    assert weights(balancer, **first) == pytest.approx(focal(kappas, focus), rel=1e-4)
    second = {"b": 0.2, "c": 1.0, "a": 0.3}
    kappas = {name: 0.75 * kappas[name] + 0.25 * math.exp(-loss) for name, loss in second.items()}
    assert weights(balancer, **second) == pytest.approx(focal(kappas, focus), rel=1e-4)


def test_a_harder_task_leads_and_more_so_with_more_focus():
    shares = [weights(DynamicPriority(["a", "b"], focus=focus), a=0.2, b=1.0)["b"] for focus in (0.0, 1.0, 4.0)]
    assert 1.0 < shares[0] < shares[1] < shares[2] < 2.0


def test_tasks_that_were_not_seen_yet_have_no_share():
    balancer = DynamicPriority(["a", "b", "c"])
    assert weights(balancer, a=0.3) == {"a": 1.0}
    assert sum(weights(balancer, a=0.3, c=0.5).values()) == pytest.approx(2.0)
    balancer.backward(leaves(a=0.3, b=math.nan))
    assert sum(weights(balancer, a=0.3, c=0.5).values()) == pytest.approx(2.0)


def test_a_loss_beyond_the_scale_of_a_probability_counts_as_its_end():
    perfect = weights(DynamicPriority(["a", "b"]), a=-3.0, b=1.0)
    assert perfect == pytest.approx(focal({"a": 1 - 1e-4, "b": math.exp(-1)}, 1.0), rel=2e-3)
    hopeless = weights(DynamicPriority(["a", "b"]), a=500.0, b=1.0)
    assert hopeless == pytest.approx(focal({"a": 1e-4, "b": math.exp(-1)}, 1.0), rel=1e-4)
    assert weights(DynamicPriority(["a", "b"]), a=0.0, b=0.0) == pytest.approx({"a": 1.0, "b": 1.0})


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"`focus`.*-1"):
        DynamicPriority(["a"], focus=-1.0)
    with pytest.raises(ConfigError, match=r"`rate`.*1\.5"):
        DynamicPriority(["a"], rate=1.5)
