import numpy as np
import pytest
from bandits import SURE, VALUE, drawn, every_log, log_of

from polytask.errors import DataError
from polytask.policies import Certainty, Log, ips


@pytest.mark.parametrize("rows", [1, 2])
def test_is_unbiased_over_every_log(rows):
    total, mean = 0.0, 0.0
    for chance, *log in every_log(rows):
        total += chance
        mean += chance * ips(log_of(*log), certainty=SURE).value
    assert total == pytest.approx(1)
    assert mean == pytest.approx(VALUE, rel=1e-12)


def test_the_square_of_its_standard_error_is_its_variance_over_every_log():
    found = [(chance, ips(log_of(*log), certainty=SURE)) for chance, *log in every_log(2)]
    variance = sum(chance * (estimate.value - VALUE) ** 2 for chance, estimate in found)
    assert sum(chance * estimate.standard_error**2 for chance, estimate in found) == pytest.approx(variance, rel=1e-12)


def test_clipping_lowers_the_value_of_what_was_clipped():
    log = log_of(*drawn(500, seed=0))
    whole, cut = ips(log, certainty=SURE), ips(log, clip=2.0, certainty=SURE)
    assert log.weights().max() == pytest.approx(6.0)
    assert cut.value < whole.value
    assert cut.clipped == pytest.approx((log.weights() > 2).mean())
    assert whole.clipped == 0
    assert cut.effective_rows > whole.effective_rows
    assert cut.mean_weight == whole.mean_weight == pytest.approx(log.weights().mean())
    assert ips(log, clip=6.0 + 1e-9, certainty=SURE) == whole


def test_effective_rows_by_hand():
    log = Log(np.ones(4), np.full(4, 0.5), np.array([1.0, 0.5, 0.0, 0.5]))  # weights 2, 1, 0, 1
    assert ips(log, certainty=SURE).effective_rows == pytest.approx(16 / 6)
    assert ips(log).value == 1.0


def test_what_speaks_against_it_is_said():
    few = ips(log_of(*drawn(40, seed=1)), certainty=SURE)
    assert any("effective sample size" in text for text in few.findings)
    assert any("have a reward" in text for text in few.findings)
    assert ips(log_of(*drawn(3000, seed=1)), certainty=SURE).findings == ()
    contexts, actions, rewards = drawn(3000, seed=2)
    shown = actions > 0  # rows of the first action are lost: the judged policy wants them
    lost = ips(log_of(contexts[shown], actions[shown], rewards[shown]), certainty=SURE)
    assert any("The mean weight is" in text for text in lost.findings)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"propensity": np.array([0.5, 0.0])}, "'propensity' must be a probability, above 0.*0.0 in row 1"),
        ({"propensity": np.array([0.5, np.nan])}, "nan in row 1"),
        ({"propensity": np.array([1.5, 0.5])}, "1.5 in row 0"),
        ({"target": np.array([-0.1, 0.5])}, "'target'.*-0.1 in row 0"),
        ({"reward": np.array([0.0, np.inf])}, "'reward' must be a finite number.*inf in row 1"),
        ({"target": np.zeros(2)}, None),
    ],
)
def test_wrong_columns_are_named(change, text):
    columns = {"reward": np.ones(2), "propensity": np.full(2, 0.5), "target": np.full(2, 0.5)} | change
    if text is None:
        assert ips(Log(**columns)).value == 0
        return
    with pytest.raises(DataError, match=text):
        Log(**columns)


def test_wrong_settings_are_refused():
    log = Log(np.ones(2), np.full(2, 0.5), np.full(2, 0.5))
    with pytest.raises(DataError, match="greatest weight"):
        ips(log, clip=0.0)
    with pytest.raises(DataError, match="level"):
        Certainty(level=1.0)
    with pytest.raises(DataError, match="must have rows"):
        Log(np.zeros(0), np.zeros(0), np.zeros(0))
