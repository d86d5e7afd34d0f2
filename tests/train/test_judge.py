"""Which validation is the best."""

import math

import pytest

from polytask.errors import ConfigError
from polytask.tasks import Binary, Regression
from polytask.train._judge import Judge

TASKS = (Binary("click"), Regression("time"), Binary("hint", auxiliary=True))


def metrics(auc, rmse, hint=0.5):
    return {"click": {"auc": auc}, "time": {"rmse": rmse}, "hint": {"auc": hint}}


def test_the_mean_is_oriented_and_of_served_tasks():
    judge = Judge(TASKS)
    assert judge.score(metrics(0.8, 3.0, hint=9.0)) == pytest.approx((0.8 - 3.0) / 2)
    assert judge.judge(1, metrics(0.8, 3.0)) == ["best"]
    assert judge.judge(2, metrics(0.7, 3.0)) == []
    assert judge.judge(3, metrics(0.7, 2.0)) == ["best"]
    assert (judge.best["best"].step, judge.best["best"].score) == (3, pytest.approx(-0.65))


def test_one_metric_is_watched_where_named():
    judge = Judge(TASKS, main="time")
    judge.judge(1, metrics(0.1, 3.0))
    assert judge.judge(2, metrics(0.9, 3.5)) == []
    assert judge.judge(3, metrics(0.0, 2.5)) == ["best"]
    assert Judge(TASKS, main="time.r2").score({"time": {"r2": 0.25}}) == 0.25
    assert Judge(TASKS, main="hint.auc").score(metrics(0.1, 1.0, hint=0.7)) == 0.7


def test_each_task_has_its_own_best_when_asked():
    judge = Judge(TASKS, main="click", per_task=True)
    assert judge.judge(1, metrics(0.8, 3.0)) == ["best", "best-click", "best-time"]
    assert judge.judge(2, metrics(0.7, 2.0)) == ["best-time"]
    assert set(judge.best) == {"best", "best-click", "best-time"}


def test_patience_counts_validations_without_improvement():
    judge = Judge(TASKS, main="click", patience=2)
    stops = []
    for step, value in enumerate((0.5, 0.6, 0.6, 0.7, 0.1, 0.2)):
        judge.judge(step, metrics(value, 1.0))
        stops.append(judge.stop)
    assert stops == [False, False, False, False, False, True]


def test_what_is_not_defined_is_left_out_and_never_the_best():
    judge = Judge(TASKS)
    assert judge.score({"click": {"auc": 0.8}, "time": {"rmse": math.nan}}) == 0.8
    assert judge.score({"time": {"rmse": 2.0}}) == -2.0
    assert math.isnan(judge.score({}))
    assert judge.judge(1, {}) == []
    assert judge.best == {}


def test_state_goes_on():
    judge = Judge(TASKS, patience=3)
    judge.judge(1, metrics(0.8, 1.0))
    judge.judge(2, metrics(0.7, 1.0))
    other = Judge(TASKS, patience=3)
    other.load_state_dict(judge.state_dict())
    assert (other.best, other.waited) == (judge.best, 1)


@pytest.mark.parametrize(
    ("main", "text"), [("clck", "Did you mean 'click'"), ("click.rmse", r"'click\.rmse'.*Valid"), ("click.aucc", "'auc'")]
)
def test_mistakes_are_named(main, text):
    with pytest.raises(ConfigError, match=text):
        Judge(TASKS, main=main)


def test_a_metric_without_a_direction_cannot_judge():
    tasks = (Binary("click", metrics=("calibration_ratio", "auc")),)
    with pytest.raises(ConfigError, match=r"'click'.*lies between.*'calibration_ratio'.*`main`"):
        Judge(tasks)
    assert Judge(tasks, main="click.auc").score({"click": {"auc": 0.6, "calibration_ratio": 1.0}}) == 0.6
