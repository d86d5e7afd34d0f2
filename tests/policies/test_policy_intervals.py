"""Do intervals hold what their level says."""

import numpy as np
import pytest
from bandits import REWARDS, TARGET, VALUE, drawn, log_of

from polytask.policies import ESTIMATORS, Certainty, Log, doubly_robust, expected_reward, ips, snips

# 0.95 ± 3 standard errors of 300 simulated logs is 0.91 to 0.99.
LOGS, ROWS = 300, 400


@pytest.mark.parametrize("name", ESTIMATORS)
def test_both_intervals_hold_the_value_as_often_as_they_say(name):
    normal = bootstrap = 0
    for seed in range(LOGS):
        contexts, actions, rewards = drawn(ROWS, seed)
        log, certainty = log_of(contexts, actions, rewards), Certainty(resamples=200, seed=seed)
        if name == "doubly_robust":
            model = REWARDS + 0.3
            expected = expected_reward(TARGET[contexts], model[contexts])
            found = doubly_robust(log, model[contexts, actions], expected, certainty=certainty)
        else:
            found = ESTIMATORS[name](log, certainty=certainty)
        normal += found.normal.low <= VALUE <= found.normal.high
        bootstrap += found.bootstrap.low <= VALUE <= found.bootstrap.high
    assert 0.91 <= normal / LOGS <= 0.99
    assert 0.90 <= bootstrap / LOGS <= 0.99


def test_the_level_and_the_seed_are_those_that_were_asked_for():
    log = log_of(*drawn(500, seed=1))
    narrow, wide = (ips(log, certainty=Certainty(level=level)) for level in (0.5, 0.99))
    assert narrow.normal.high - narrow.value == pytest.approx(0.6745 * narrow.standard_error, rel=1e-3)
    assert wide.normal.high - wide.value == pytest.approx(2.5758 * wide.standard_error, rel=1e-3)
    assert wide.bootstrap.low < narrow.bootstrap.low < narrow.value < narrow.bootstrap.high < wide.bootstrap.high
    assert ips(log, certainty=Certainty(seed=4)) == ips(log, certainty=Certainty(seed=4))
    assert ips(log, certainty=Certainty(seed=4)).bootstrap != ips(log, certainty=Certainty(seed=5)).bootstrap
    assert ips(log, certainty=Certainty(resamples=0)).bootstrap is None


def test_the_bootstrap_is_that_of_rows():
    """Of 0 and 1 with equal weights a resampled mean is binomial."""
    reward = np.r_[np.ones(30), np.zeros(70)]
    found = snips(Log(reward, np.full(100, 0.5), np.full(100, 0.5)), certainty=Certainty(resamples=4000))
    assert (found.bootstrap.low, found.bootstrap.high) == pytest.approx((0.21, 0.39), abs=0.0101)
