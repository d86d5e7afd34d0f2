import numpy as np
import pytest
from bandits import SURE, VALUE, drawn, log_of
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.errors import DataError
from polytask.policies import Log, ips, snips

CHANCES = st.floats(1e-4, 1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(2.0, 5.0), CHANCES, CHANCES), min_size=1, max_size=20))
def test_lies_between_the_least_and_the_greatest_reward(rows):
    reward, propensity, target = np.array(rows).T
    value = snips(Log(reward, propensity, target), certainty=SURE).value
    assert reward.min() - 1e-9 <= value <= reward.max() + 1e-9


def test_ips_does_not_and_shifts_of_the_reward_hurt_it():
    log = Log(np.array([2.0, 5.0]), np.array([0.1, 0.5]), np.array([0.9, 0.2]))
    assert ips(log, certainty=SURE).value > 5
    shifted = Log(log.reward + 100, log.propensity, log.target)
    assert snips(shifted, certainty=SURE).value - snips(log, certainty=SURE).value == pytest.approx(100)
    assert ips(shifted, certainty=SURE).value - ips(log, certainty=SURE).value > 400


def test_its_bias_vanishes_and_its_standard_error_is_its_spread():
    found = [snips(log_of(*drawn(400, seed)), certainty=SURE) for seed in range(600)]
    values = np.array([estimate.value for estimate in found])
    assert values.mean() == pytest.approx(VALUE, abs=4 * values.std() / np.sqrt(600) + 0.005)
    assert np.mean([estimate.standard_error for estimate in found]) == pytest.approx(values.std(), rel=0.1)


def test_equal_weights_are_the_mean_with_its_usual_error():
    reward = np.array([0.0, 1.0, 4.0, 2.0])
    found = snips(Log(reward, np.full(4, 0.25), np.full(4, 0.25)), certainty=SURE)
    assert found.value == reward.mean()
    assert found.standard_error == pytest.approx(reward.std(ddof=1) / 2)


def test_without_any_weight_there_is_no_value():
    with pytest.raises(DataError, match="must choose some logged row"):
        snips(Log(np.ones(2), np.full(2, 0.5), np.zeros(2)))
