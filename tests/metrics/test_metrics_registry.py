import inspect
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from polytask import metrics
from polytask.metrics import METRICS, Undefined
from polytask.tasks import TASKS


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
    assert len(METRICS) == 23


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


def test_importing_metrics_imports_nothing_heavy():
    code = (
        "import sys, polytask.metrics; print([m for m in ('torch', 'sklearn', 'scipy', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
