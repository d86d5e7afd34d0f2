"""Which validation is the best."""

import math

import pytest

from polytask.errors import ConfigError
from polytask.tasks import Binary, Regression
from polytask.train._judge import Judge

TASKS = (Binary("click"), Regression("time"), Binary("hint", auxiliary=True))


def metrics(auc, rmse, hint=0.5):
    return {"click": {"auc": auc}, "time": {"rmse": rmse}, "hint": {"auc": hint}}


def test_tasks_are_judged_together_by_the_error_they_have_left_whatever_its_unit():
    judge = Judge(TASKS)
    assert judge.judge(1, metrics(0.8, 39.0, hint=9.0)) == ["best"]
    assert judge.best["best"].score == 0.0
    # A tenth of the AUC's error is gone, a thousandth of the other has come: better, though 39 moved further than 0.8.
    assert judge.judge(2, metrics(0.82, 39.04)) == ["best"]
    assert judge.best["best"].score == pytest.approx((math.log(0.2 / 0.18) + math.log(39.0 / 39.04)) / 2)
    assert judge.judge(3, metrics(0.81, 39.04)) == []
    assert judge.best["best"].step == 2


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_a_label_does_not_choose_the_best(scale):
    judge = Judge(TASKS)
    found = [
        judge.judge(step, metrics(auc, scale * rmse)) for step, (auc, rmse) in enumerate([(0.7, 3.0), (0.8, 3.1), (0.79, 2.5)])
    ]
    assert found == [["best"], ["best"], ["best"]]


def test_a_resumed_judge_measures_from_the_same_first_validation():
    judge, resumed = Judge(TASKS), Judge(TASKS)
    judge.judge(1, metrics(0.8, 3.0))
    resumed.load_state_dict(judge.state_dict())
    for each in (judge, resumed):
        each.judge(2, metrics(0.85, 2.9))
    assert resumed.best == judge.best


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
    assert judge.score({"click": {"auc": 0.8}, "time": {"rmse": math.nan}}) == 0.0
    assert judge.score({"click": {"auc": 0.9}, "time": {"rmse": math.nan}}) == pytest.approx(math.log(2))
    assert judge.score({"time": {"rmse": 2.0}}) == 0.0
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
