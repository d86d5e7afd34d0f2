import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from polytask.errors import ConfigError
from polytask.metrics import METRICS, auc, evaluate, grouped_auc, rmse
from polytask.tasks import Binary, Count, LabelSummary, Multiclass, Ordinal, Quantile, Regression

NAN = math.nan


def fitted(task, values):
    summary = LabelSummary(task.label)
    summary.update(pa.array(values))
    return task.fitted(summary)


def test_only_observed_rows_with_weight_count():
    rows = 40
    random = np.random.default_rng(0)
    label = (random.uniform(size=rows) < 0.4).astype(np.float32)
    prediction, weight = random.uniform(size=rows).astype(np.float32), random.uniform(0.5, 2, rows).astype(np.float32)
    label[:5], weight[5:9] = NAN, 0
    prediction[:9] = NAN  # of rows that do not count
    found = evaluate(Binary("click"), label, prediction, weight)
    assert list(found) == ["auc", "log_loss", "calibration_error"]
    assert found["auc"] == auc(label[9:], prediction[9:], weight[9:])


def test_regression_is_judged_on_its_own_scale():
    values = [100.0, 300.0, 500.0]
    task = fitted(Regression("price"), values)
    prediction = np.array([110.0, 300.0, 470.0])
    found = evaluate(task, task.encode(pa.array(values)), prediction)
    assert found["rmse"] == pytest.approx(rmse(np.array(values), prediction), rel=1e-5)


def test_quantiles_hand_their_levels_on():
    task = fitted(Quantile("y", levels=(0.25, 0.75)), [0.0, 10.0])
    found = evaluate(task, task.encode(pa.array([0.0, 10.0])), np.array([[-1.0, 1.0], [-1.0, 1.0]]))
    assert found["interval_coverage"] == 0.0
    assert found["pinball_loss"] == pytest.approx((0.25 + 0.25 + 0.25 * 11 + 0.75 * 9) / 4)


@pytest.mark.parametrize(
    ("task", "label", "prediction"),
    [
        (Binary("y"), [0.0, 1.0, 1.0], [0.1, 0.4, 0.7]),
        (Regression("y"), [0.0, 1.0, 2.0], [0.1, 0.4, 0.7]),
        (Count("y"), [0.0, 1.0, 2.0], [0.1, 0.4, 0.7]),
        (Multiclass("y", classes=(1, 2)), [0.0, 1.0, 1.0], [[0.3, 0.7], [0.4, 0.6], [0.9, 0.1]]),
        (Ordinal("y", levels=(1, 2)), [0.0, 1.0, 1.0], [[0.3, 0.7], [0.4, 0.6], [0.9, 0.1]]),
        (Quantile("y", levels=(0.2, 0.8)), [0.0, 1.0, 1.0], [[0.3, 0.7], [0.4, 0.6], [0.1, 0.9]]),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_every_metric_of_every_kind_gives_a_number_and_a_reason(task, label, prediction):
    names = tuple(name for name, metric in METRICS.items() if task.kind in metric.kinds)
    task = replace(task, metrics=names)
    label, prediction = np.array(label, dtype=np.float32), np.array(prediction, dtype=np.float32)
    found = evaluate(task, label, prediction, groups=np.zeros(3))
    assert set(found) == set(names)
    assert all(math.isfinite(value) for value in found.values())
    nothing = evaluate(task, np.full(3, NAN, dtype=np.float32), prediction)
    assert {value.reason for value in nothing.values()} == {"no observed row"}
    lost = evaluate(task, label, np.full_like(prediction, NAN))
    assert {value.reason for value in lost.values()} == {"a prediction is not a number"}


def test_groups_are_cut_to_the_observed_rows():
    task = Binary("click", metrics=("grouped_auc",))
    label, prediction, groups = np.array([0, 1, NAN, 1, 0.0]), np.array([0.1, 0.2, 0.9, 0.3, 0.8]), np.array([1, 1, 1, 2, 2])
    rows = ~np.isnan(label)
    expected = grouped_auc(label[rows], prediction[rows], groups=groups[rows])
    assert evaluate(task, label, prediction, groups=groups) == {"grouped_auc": expected}
    assert evaluate(task, label, prediction)["grouped_auc"].reason == "no groups were given"


def test_unknown_metric_is_named():
    with pytest.raises(ConfigError, match=r"Unknown metric.*'auk'.*'auc'"):
        evaluate(Binary("click", metrics=("auk",)), np.array([1.0]), np.array([0.5]))
