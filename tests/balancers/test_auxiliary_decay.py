"""Auxiliary tasks fade to a floor; main tasks stay."""

import math

import pytest
from leaves import weights

from polytask.balancers import AuxiliaryDecay, Equal
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    # A task alone cannot be auxiliary; with a long decay an earlier call changes nothing that is seen.
    check_balancer(
        lambda tasks: AuxiliaryDecay(tasks, auxiliary=["time"], steps=1 << 24) if "time" in tasks else Equal(tasks),
        scale="equivariant",
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1.0, 0.8, 0.6, 0.4, 0.2, 0.2]),
        ("exponential", [1.0, 0.2**0.25, 0.2**0.5, 0.2**0.75, 0.2, 0.2]),
        ("cosine", [0.2 + 0.4 * (1 + math.cos(math.pi * t)) for t in (0.0, 0.25, 0.5, 0.75, 1.0, 1.0)]),
    ],
)
def test_auxiliary_tasks_fade_and_the_others_stay(shape, expected):
    balancer = AuxiliaryDecay(["a", "b", "c"], auxiliary=["c", "a"], steps=4, floor=0.2, shape=shape)
    for weight in expected:
        assert weights(balancer, c=2.0, b=0.1, a=5.0) == pytest.approx({"a": weight, "b": 1.0, "c": weight}, rel=1e-5)


def test_a_floor_of_zero_ends_the_auxiliary_task():
    balancer = AuxiliaryDecay(["a", "b"], auxiliary=["b"], steps=1)
    assert [weights(balancer, b=2.0, a=1.0)["b"] for _ in range(3)] == [1.0, 0.0, 0.0]


def test_steps_count_on_after_a_resume_and_without_the_auxiliary_task():
    balancer = AuxiliaryDecay(["a", "b"], auxiliary=["b"], steps=4)
    weights(balancer, a=1.0)
    restored = AuxiliaryDecay(["b", "a"], auxiliary=["b"], steps=4)
    restored.load_state_dict(balancer.state_dict())
    assert weights(restored, b=1.0) == {"b": 0.75}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"auxiliary": ["clik"]}, "'clik'.*Did you mean 'click'"),
        ({"auxiliary": []}, r"must fade.*auxiliary \[\]"),
        ({"auxiliary": ["click", "buy"]}, "must stay.*'click', 'buy'"),
        ({"shape": "linaer"}, "'linaer'.*Did you mean 'linear'"),
        ({"shape": "exponential"}, "above 0 for 'exponential'.*0.0"),
        ({"floor": 1.5}, "`floor`.*1.5"),
        ({"steps": 0}, "`steps`.*0"),
    ],
)
def test_mistakes_are_named(options, text):
    with pytest.raises(ConfigError, match=text):
        AuxiliaryDecay(["click", "buy"], **({"auxiliary": ["click"], "steps": 10} | options))
