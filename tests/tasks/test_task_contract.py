"""What holds for every kind of task."""

import json
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from polytask.batch import Labels
from polytask.errors import ConfigError
from polytask.tasks import (
    TASKS,
    Binary,
    Count,
    Multiclass,
    Ordinal,
    Quantile,
    Regression,
    prediction_columns,
    task_from_json,
    task_to_json,
)

random = np.random.default_rng(0)
VALUES = {
    "binary": (random.uniform(size=200) < 0.3).astype(int).tolist(),
    "regression": random.gamma(2.0, 40.0, 200).tolist(),
    "multiclass": random.choice(["tv", "phone", "desk"], 200, p=[0.2, 0.7, 0.1]).tolist(),
    "ordinal": random.choice([1, 2, 3, 5], 200, p=[0.1, 0.2, 0.3, 0.4]).tolist(),
    "count": random.poisson(3.0, 200).tolist(),
    "quantile": random.gamma(2.0, 40.0, 200).tolist(),
    "value": np.where(random.uniform(size=200) < 0.4, random.lognormal(3.0, 0.8, 200), 0.0).tolist(),
}


@pytest.fixture(params=sorted(TASKS))
def task(request, fit):
    return fit(TASKS[request.param]("y"), VALUES[request.param])


@pytest.fixture
def labels(task):
    return Labels.of(torch.from_numpy(task.encode(pa.array(VALUES[task.kind]))))


def fitted_constant(task, labels):
    """The best output that does not look at the row, found by minimising the loss."""
    output = torch.zeros(task.out_features, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([output], lr=0.5, max_iter=2000, tolerance_grad=1e-12, tolerance_change=0)
    doubles = labels._replace(value=labels.value.double())

    def closure():
        optimizer.zero_grad()
        loss = task.loss(output.expand(len(labels.value), -1), doubles)
        loss.backward()
        return loss

    optimizer.step(closure)
    return output.detach()


def constant_quantiles(task, labels):
    """The same with a falling rate: the pinball loss has no slope of zero to stop at."""
    output = torch.tensor(task.initial_bias(), requires_grad=True)
    optimizer = torch.optim.Adam([output], lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    for _ in range(800):
        optimizer.zero_grad()
        task.loss(output.expand(len(labels.value), -1), labels).backward()
        optimizer.step()
        schedule.step()
    return task.predict(output[None]).detach().numpy()


def test_optimum_of_a_constant_is_the_closed_form(task, labels):
    values = np.array(VALUES[task.kind])
    if task.kind == "quantile":
        shares = (values[:, None] <= constant_quantiles(task, labels)).mean(axis=0)
        np.testing.assert_allclose(shares, task.levels, atol=0.011)  # two labels of 200
        return
    prediction = task.predict(fitted_constant(task, labels)[None]).double()[0].numpy()
    if task.kind in {"multiclass", "ordinal"}:
        expected = [np.mean(values == option) for option in getattr(task, "classes", None) or task.levels]
    elif task.kind == "value":  # the mean of the lognormal, not that of the labels
        logarithms = np.log(values[values > 0])
        expected = (values > 0).mean() * np.exp(logarithms.mean() + logarithms.var() / 2)
    else:
        expected = values.mean()
    np.testing.assert_allclose(prediction, expected, rtol=2e-5)


def test_the_initial_bias_is_no_worse_than_zeros_and_near_the_best_constant(task, labels):
    assert len(task.initial_bias()) == task.out_features

    def loss(output):
        return task.loss(torch.as_tensor(output, dtype=torch.float32).expand(200, -1), labels).item()

    first = loss(task.initial_bias())
    assert first <= loss([0.0] * task.out_features) + 1e-6
    if task.kind != "quantile":
        assert first == pytest.approx(loss(fitted_constant(task, labels)), rel=1e-5)


def test_loss_falls_while_a_model_learns(task):
    torch.manual_seed(0)
    order = np.argsort(np.array(VALUES[task.kind]), kind="stable")
    x = torch.zeros(200)
    x[torch.from_numpy(order)] = torch.linspace(-1, 1, 200)  # a feature that knows the label's rank
    labels = Labels.of(torch.from_numpy(task.encode(pa.array(VALUES[task.kind]))))
    model = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, task.out_features))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = task.loss(model(x[:, None]), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses))
    assert min(losses) >= 0
    assert losses[-1] < 0.6 * losses[0]


def test_gradient_is_right_and_zero_on_rows_that_do_not_count(task, labels):
    observed = labels.observed.clone()
    observed[::3] = False
    value = torch.where(observed, labels.value, 0.0).double()
    weight = torch.linspace(0.5, 2.0, 200, dtype=torch.float64)
    case = Labels(value[:9], observed[:9], int(observed[:9].sum()), weight[:9])
    output = torch.randn(9, task.out_features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    output.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: task.loss(x, case), output)
    spoiled = output.detach().clone()
    spoiled[~case.observed] = torch.tensor(math.nan, dtype=torch.float64)
    spoiled[0] = math.inf
    spoiled.requires_grad_()
    for some in (case, case._replace(weight=None)):
        loss = task.loss(spoiled, some)
        (slope,) = torch.autograd.grad(loss, spoiled)
        assert loss.isfinite()
        assert (slope[~case.observed] == 0).all()
        assert (slope[case.observed] != 0).any(dim=1).all()
        kept = Labels(case.value[case.observed], torch.ones(case.count, dtype=torch.bool), case.count)
        kept = kept if some.weight is None else kept._replace(weight=case.weight[case.observed])
        torch.testing.assert_close(loss, task.loss(output.detach()[case.observed], kept))


def test_missing_labels_are_missing_in_every_encoding(task):
    values = VALUES[task.kind][:4]
    column = pa.array([None, *values, None])
    for labels in (column, column.dictionary_encode(), pa.chunked_array([column[:2], column[2:]])):
        encoded = task.encode(labels)
        assert encoded.dtype == np.float32
        assert np.isnan(encoded).tolist() == [True, False, False, False, False, True]
        np.testing.assert_array_equal(encoded[1:-1], task.encode(pa.array(values)))
    assert np.isnan(task.encode(pa.nulls(2))).all()
    assert task.encode(pa.array([], column.type)).shape == (0,)


def test_predictions_have_the_columns_they_say(task):
    output = torch.zeros(5, task.out_features)
    prediction = task.predict(output)
    columns = prediction_columns(task)
    assert prediction.shape == ((5,) if len(columns) == 1 else (5, len(columns)))
    assert len(set(columns)) == len(columns)
    assert all(column.startswith("y") for column in columns)
    assert task.predict(output.bfloat16()).dtype in {torch.float32, torch.float64}


def test_json_round_trip_is_exact(task):
    full = replace(task, given="a", reads=("b", "c"), auxiliary=True, weight=0.1 + 0.2, metrics=task.metrics[:1])
    for one in (task, full, TASKS[task.kind]("y")):
        back = task_from_json(json.loads(json.dumps(task_to_json(one))))
        assert back == one
        assert type(back) is type(one)


def test_what_is_fitted_is_marked(task):
    marked = {field.name for field in fields(task) if field.metadata.get("fitted")}
    plain = TASKS[task.kind]("y")
    changed = {field.name for field in fields(task) if getattr(task, field.name) != getattr(plain, field.name)}
    assert marked
    assert changed - marked <= {"classes", "levels"}


def test_is_a_frozen_value(task):
    with pytest.raises(FrozenInstanceError):
        task.weight = 2.0
    assert hash(task) == hash(replace(task))


def test_bfloat16_outputs_are_judged_in_float32(task, labels):
    output = torch.randn(200, task.out_features, generator=torch.Generator().manual_seed(2)).bfloat16()
    loss = task.loss(output, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == task.loss(output.float(), labels).item()


def test_vmap_over_replicas_equals_a_loop(task, labels):
    outputs = torch.randn(3, 200, task.out_features, generator=torch.Generator().manual_seed(3))
    found = torch.func.vmap(lambda output: task.loss(output, labels))(outputs)
    torch.testing.assert_close(found, torch.stack([task.loss(output, labels) for output in outputs]))


COMPILES = """
import math, torch
from polytask.batch import Labels
from polytask.tasks import TASKS

options = {"multiclass": {"classes": (1, 2, 3)}, "ordinal": {"levels": (1, 2, 3, 4)}}
tasks = [make("y", **options.get(kind, {})) for kind, make in TASKS.items()]
labels = Labels.of(torch.tensor([0.0, 1.0, math.nan, 1.0]), torch.tensor([1.0, 2.0, 1.0, 0.5]))

def both(outputs):
    return [part for task, output in zip(tasks, outputs) for part in (task.loss(output, labels), task.predict(output))]

outputs = [torch.randn(4, task.out_features) for task in tasks]
torch.testing.assert_close(torch.compile(both, fullgraph=True, backend="eager")(outputs), both(outputs))
print(len(tasks))
"""


def test_every_kind_compiles_without_a_break():
    """In a process of its own: the checks of shapes that run in tests cannot be compiled."""
    found = subprocess.run([sys.executable, "-c", COMPILES], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == str(len(TASKS)), found.stderr[-2000:]


def test_a_column_without_labels_is_refused_by_task_and_column(refused, fit):
    for kind, make in TASKS.items():
        refused(lambda make=make: fit(make("a", label="b"), pa.nulls(4)), "'a'", kind, "'b'", "none in 4 rows")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Binary("a b"), "letters, digits"),
        (lambda: Regression(""), "letters, digits"),
        (lambda: Count("a", weight=0.0), "weight of task 'a'"),
        (lambda: Quantile("a", weight=math.inf), "weight of task 'a'"),
        (lambda: Multiclass("a", classes=("x",)), "'a' needs two or more classes"),
        (lambda: Ordinal("a", levels=(1, 1)), "'a' needs two or more levels"),
    ],
)
def test_fields_that_contradict_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_label_and_metrics_have_defaults():
    assert Binary("click").label == "click"
    assert Binary("click", label="clicked").label == "clicked"
    assert Binary("click").metrics == ("auc", "log_loss", "calibration_error")
