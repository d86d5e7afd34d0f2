import inspect
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from polytask import metrics
from polytask.errors import ConfigError
from polytask.metrics import METRICS, Undefined
from polytask.tasks import TASKS, Binary, check_tasks


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_a_function_of_its_name_for_known_kinds(name):
    metric = METRICS[name]
    assert metric.function is getattr(metrics, name)
    assert metric.function.__module__ == f"polytask.metrics._{name}"
    assert metric.kinds
    assert set(metric.kinds) <= set(TASKS)
    assert metric.description.endswith(".")
    first = list(inspect.signature(metric.function).parameters)[:3]
    assert first == ["label", "prediction", "weight"]


def test_how_many_there_are():
    assert len(METRICS) == 27


def test_every_kind_can_choose_a_model():
    for kind, task in TASKS.items():
        assert METRICS[task.default_metrics[0]].greater_is_better is not None
        assert all(kind in METRICS[name].kinds for name in task.default_metrics)


def test_undefined_is_a_nan_with_a_reason():
    value = Undefined("only one class occurs")
    assert math.isnan(value)
    assert repr(value) == "nan (only one class occurs)"
    assert json.dumps({"auc": value}) == '{"auc": NaN}'
    assert pickle.loads(pickle.dumps(value)).reason == "only one class occurs"
    assert np.isnan(np.mean([value, 1.0]))


def test_a_mean_over_groups_is_a_number_that_tells_what_it_is_of():
    value = metrics.OverGroups(0.25, groups=3, left_out=2, why="without a positive row")
    assert value == 0.25
    assert value.note == "2 of 5 groups without a positive row are left out"
    assert json.dumps({"ndcg": value}) == '{"ndcg": 0.25}'
    again = pickle.loads(pickle.dumps(value))
    assert (again, again.groups, again.left_out) == (0.25, 3, 2)
    assert metrics.OverGroups(0.25, groups=3, left_out=0, why="").note == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ndgc@10", "Unknown metric.*Did you mean 'ndcg'"),
        ("auc@10", "'auc' is no metric of first ranks"),
        ("ndcg@0", "number of ranks"),
        ("ndcg@ten", "For example 'ndcg@10'"),
        ("ndcg@", "number of ranks"),
    ],
)
def test_a_name_with_ranks_that_is_none_says_what_is(name, text):
    with pytest.raises(ConfigError, match=text):
        metrics.find_metric(name)
    with pytest.raises(ConfigError, match="`metrics` must fit"):
        check_tasks([Binary("click", metrics=(name,))])


def test_ranks_belong_to_the_name():
    check_tasks([Binary("click", metrics=("ndcg@10", "hit_rate@1"))])
    found = metrics.find_metric("ndcg@2")
    assert (found.greater_is_better, found.grouped, found.description) == (True, True, METRICS["ndcg"].description)


def test_importing_metrics_imports_nothing_heavy():
    code = (
        "import sys, polytask.metrics; print([m for m in ('torch', 'sklearn', 'scipy', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
