import numpy as np
import pytest
from bandits import LOGGING, REWARDS, SURE, TARGET, VALUE, drawn, every_log, log_of

from polytask.errors import DataError
from polytask.policies import doubly_robust, expected_reward, ips

WRONG_MODEL = np.array([[1.7, 0.1, 0.4], [0.2, 1.9, 1.1]])
WRONG_LOGGING = np.array([[0.3, 0.3, 0.4], [0.6, 0.2, 0.2]])


def mean_over_every_log(model, logging):
    mean = 0.0
    for chance, contexts, actions, rewards in every_log(1):
        expected = expected_reward(TARGET[contexts], model[contexts])
        log = log_of(contexts, actions, rewards, logging)
        mean += chance * doubly_robust(log, model[contexts, actions], expected, certainty=SURE).value
    return mean


def test_one_of_the_two_may_be_wrong():
    assert mean_over_every_log(WRONG_MODEL, LOGGING) == pytest.approx(VALUE, rel=1e-12)
    assert mean_over_every_log(REWARDS, WRONG_LOGGING) == pytest.approx(VALUE, rel=1e-12)
    assert abs(mean_over_every_log(WRONG_MODEL, WRONG_LOGGING) - VALUE) > 0.1


def test_without_a_model_it_is_ips_and_a_good_model_narrows_it():
    contexts, actions, rewards = drawn(2000, seed=3)
    log = log_of(contexts, actions, rewards)
    nothing = doubly_robust(log, np.zeros(2000), np.zeros(2000), certainty=SURE)
    assert nothing == ips(log, certainty=SURE)
    expected = expected_reward(TARGET[contexts], REWARDS[contexts])
    good = doubly_robust(log, REWARDS[contexts, actions], expected, certainty=SURE)
    assert good.standard_error < 0.8 * nothing.standard_error
    assert good.value == pytest.approx(VALUE, abs=4 * good.standard_error)


def test_columns_fit_the_log():
    log = log_of(*drawn(3, seed=0))
    with pytest.raises(DataError, match="as long as the log"):
        doubly_robust(log, np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="finite"):
        doubly_robust(log, np.full(3, np.nan), np.zeros(3))
