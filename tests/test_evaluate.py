"""Metrics on each task's own rows, whatever the batches; the model is left as it was."""

import math

import numpy as np
import pytest
import torch

from polytask.batch import Batch, Features, Labels
from polytask.evaluate import evaluate, predict_batches
from polytask.heads import Heads
from polytask.metrics import auc, rmse
from polytask.model import MultiTaskModel
from polytask.sharing import SharedBottom
from polytask.tasks import Binary, Multiclass, Regression

TASKS = (
    Binary("click"),
    Regression("time", given="click", mean=50.0, scale=10.0, metrics=("rmse",)),
    Multiclass("kind", classes=("a", "b", "c"), auxiliary=True),
)


class Numbers(torch.nn.Module):
    out_features = 4

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = torch.nn.Linear(3, 4), torch.nn.Dropout(0.5)

    def forward(self, features):
        return self.dropout(self.linear(features.numeric))


def model():
    torch.manual_seed(0)
    return MultiTaskModel([Numbers()], SharedBottom(4, [task.name for task in TASKS], hidden=(5,)), Heads(5, TASKS))


def batches(sizes, *, drop=(), weighted=True):
    """Rows that do not depend on how they are cut into batches; task `time` has labels on clicked rows only."""
    random = np.random.default_rng(3)
    n = sum(sizes)
    x = torch.tensor(random.normal(size=(n, 3)), dtype=torch.float32)
    click = torch.tensor(random.random(n) < 0.4, dtype=torch.float32)
    click[random.random(n) < 0.2] = math.nan
    time = torch.tensor(random.normal(size=n), dtype=torch.float32)
    time[click != 1] = math.nan
    kind = torch.tensor(random.integers(0, 3, n), dtype=torch.float32)
    weight = torch.tensor(random.uniform(0.1, 3.0, n), dtype=torch.float32) if weighted else None
    columns = {"click": click, "time": time, "kind": kind}
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        labels = {
            name: Labels.of(column[rows], None if weight is None else weight[rows])
            for name, column in columns.items()
            if name not in drop
        }
        yield Batch(Features(torch.zeros(size, 0, dtype=torch.int32), x[rows]), labels)
        start += size


def test_each_task_is_judged_on_its_own_rows_with_their_weights():
    net = model().eval()
    (whole,) = batches([60])
    with torch.no_grad():
        predicted = net.predict(whole.features)
    found = evaluate(net, batches([60]))
    for name, metric, own in (
        ("click", auc, lambda label: label),
        ("time", rmse, lambda label: 50 + 10 * label.astype(np.float64)),
    ):
        labels = whole.labels[name]
        rows = labels.observed.numpy()
        expected = metric(own(labels.value.numpy()[rows]), predicted[name].numpy()[rows], labels.weight.numpy()[rows])
        assert found[name][metric.__name__] == pytest.approx(expected, rel=1e-6)
    assert set(found) == {"click", "time", "click_and_time"}


def test_the_cut_into_batches_does_not_matter():
    net = model()
    expected = evaluate(net, batches([60]), TASKS)
    for sizes in ([1] * 60, [7, 40, 13], [59, 1]):
        for task, values in evaluate(net, batches(sizes), TASKS).items():
            assert values == pytest.approx(expected[task], rel=1e-5, nan_ok=True)
    assert set(expected) == {"click", "time", "kind", "click_and_time"}


def test_batches_that_wait_on_a_device_come_in_order(monkeypatch):
    """Copies are batched on a GPU; here the same path on the CPU."""
    expected = evaluate(model(), batches([7, 40, 13]))
    monkeypatch.setattr("polytask.evaluate._ROWS_A_COPY", 45)
    monkeypatch.setattr("polytask.evaluate._waits", lambda device: True)
    for task, values in evaluate(model(), batches([7, 40, 13])).items():
        assert values == pytest.approx(expected[task], rel=1e-6)


def test_the_joint_task_is_judged_on_every_row_where_it_is_known():
    """Zero where there was no click, whatever the label's mean is."""
    net = model().eval()
    (whole,) = batches([60])
    with torch.no_grad():
        predicted = net.predict(whole.features)
    clicked, time = whole.labels["click"], whole.labels["time"]
    happened = (clicked.observed & (clicked.value == 1)).numpy()
    truth = np.where(happened, 50 + 10 * time.value.numpy().astype(np.float64), 0.0)
    rows = clicked.observed.numpy()  # time has a label on every clicked row
    np.testing.assert_allclose(predicted["click_and_time"].numpy(), (predicted["click"] * predicted["time"]).numpy(), rtol=1e-5)
    expected = rmse(truth[rows], predicted["click_and_time"].numpy()[rows], time.weight.numpy()[rows])
    assert evaluate(net, batches([60]))["click_and_time"]["rmse"] == pytest.approx(expected, rel=1e-6)


def test_a_task_without_labels_has_no_metric():
    assert set(evaluate(model(), batches([20], drop=("click",)))) == {"time"}
    nothing = [
        Batch(batch.features, {name: Labels.of(torch.full((20,), math.nan)) for name in batch.labels}) for batch in batches([20])
    ]
    assert evaluate(model(), nothing) == {}


def test_the_model_is_left_in_the_modes_it_was_in():
    net = model().train()
    net.encoders[0].dropout.eval()  # frozen by its owner
    modes = [module.training for module in net.modules()]
    state = torch.get_rng_state()
    evaluate(net, batches([20]))
    for _ in predict_batches(net, batches([10, 10])):
        break  # also when the consumer breaks off
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(state, torch.get_rng_state())


def test_predictions_come_batch_by_batch_on_the_labels_scale():
    net = model()
    found = list(predict_batches(net, batches([7, 40, 13])))
    (whole,) = batches([60])
    with torch.inference_mode():
        expected = net.eval().predict(whole.features)
    assert [len(part["click"]) for part in found] == [7, 40, 13]
    assert set(found[0]) == {"click", "time", "click_and_time"}  # an auxiliary task is not served
    for name, values in expected.items():
        np.testing.assert_allclose(np.concatenate([part[name] for part in found]), values.numpy(), rtol=1e-5)
    assert 20 < np.mean([part["time"].mean() for part in found]) < 80


def test_memory_does_not_grow_with_unlabelled_rows():
    """Only labelled rows are kept."""
    from polytask import metrics

    seen = {}

    def spy(task, label, prediction, weight=None, groups=None):
        seen[task.name] = (len(label), len(prediction))
        return {}

    original, metrics.evaluate = metrics.evaluate, spy
    try:
        evaluate(model(), batches([60]))
    finally:
        metrics.evaluate = original
    (whole,) = batches([60])
    known = {name: whole.labels[name].count for name in ("click", "time")}
    clicked = whole.labels["click"]
    known["click_and_time"] = known["time"] + int((clicked.observed & (clicked.value == 0)).sum())
    assert seen == {name: (count, count) for name, count in known.items()}
