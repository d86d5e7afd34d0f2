import math

import pytest

from polytask.errors import ConfigError
from polytask.metrics import delta_m, relative_gain

UP = {"auc": True, "rmse": False, "log_loss": False}


def test_means_metrics_inside_a_task_first_and_is_negative_where_sharing_helps():
    single = {"click": {"auc": 0.5, "log_loss": 0.4}, "time": {"rmse": 10.0}}
    joint = {"click": {"auc": 0.55, "log_loss": 0.36}, "time": {"rmse": 10.3}}
    # click: -10% and -10%; time: +3%; the mean of -10 and 3
    assert delta_m(joint, single, greater_is_better=UP) == pytest.approx(-3.5)
    assert relative_gain(joint, single, greater_is_better=UP) == pytest.approx(3.5)


def test_the_direction_of_each_metric_matters():
    single = {"segmentation": {"miou": 40.0, "pixacc": 60.0}, "depth": {"abs": 0.5}}
    joint = {"segmentation": {"miou": 42.0, "pixacc": 57.0}, "depth": {"abs": 0.4}}
    up = {"miou": True, "pixacc": True, "abs": False}
    assert delta_m(joint, single, greater_is_better=up) == pytest.approx(((-5 + 5) / 2 - 20) / 2)


def test_a_metric_below_zero_keeps_its_direction():
    assert delta_m({"a": {"r2": -0.1}}, {"a": {"r2": -0.2}}, greater_is_better={"r2": True}) == pytest.approx(-50)


def test_a_baseline_of_zero_has_no_value_and_names_the_task():
    for function in (delta_m, relative_gain):
        value = function({"a": {"r2": 0.1}}, {"a": {"r2": 0.0}}, greater_is_better={"r2": True})
        assert math.isnan(value)
        assert "r2 of task 'a'" in value.reason


@pytest.mark.parametrize(
    ("joint", "single", "words"),
    [
        ({"a": {"auc": 1.0}}, {"b": {"auc": 1.0}}, ["same tasks", "'a', 'auc'", "'b', 'auc'"]),
        ({"a": {"auk": 1.0}}, {"a": {"auk": 1.0}}, ["direction", "auk", "'auc'"]),
        ({"a": {}}, {"a": {}}, ["needs a metric", "'a'"]),
    ],
)
def test_refusals(joint, single, words):
    with pytest.raises(ConfigError) as error:
        delta_m(joint, single, greater_is_better=UP)
    assert all(word in str(error.value) for word in words)
