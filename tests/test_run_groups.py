"""Metrics of rankings in a declared run: the group goes from `[data]` to every place where metrics are taken."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polytask.config import parse_config
from polytask.data.synthetic import Feed
from polytask.errors import DataError
from polytask.metrics import grouped_auc, mrr, ndcg
from polytask.run import evaluate, load, train

METRICS = ["ndcg@5", "grouped_auc", "mrr", "auc"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    feed = Feed(seed=3, num_users=60, num_items=40, num_categories=4, rates={"click": 0.25, "buy": 0.3})
    for name, rows, start in (("train", 1500, 0), ("valid", 500, 1500)):
        feed.write(folder / f"{name}.parquet", rows, start=start)
        table = pq.read_table(folder / f"{name}.parquet")
        shuffled = np.random.default_rng(0).permutation(rows)  # rows of a session do not lie side by side
        pq.write_table(table.take(pa.array(shuffled)), folder / f"{name}.parquet")
    return folder


def declared(folder, **data):
    run = {
        "data": {"train": "train.parquet", "valid": "valid.parquet", **data},
        "task": [{"kind": "binary", "name": "click", "metrics": METRICS}],
        "features": {"include": ["user_*", "item_*"]},
        "sharing": {"name": "shared_bottom", "hidden": [8]},
        "encoder": {"embedding_dim": 4, "numeric_dim": 4},
        "train": {"epochs": 1, "batch_size": 128, "device": "cpu", "main": "click.ndcg@5"},
    }
    return parse_config(run, folder=folder)


def test_what_training_and_evaluation_say_is_what_predictions_give(folder):
    trained = train(declared(folder, group="session"), folder / "runs" / "first")
    fitted, valid = load(folder / "runs" / "first"), pq.read_table(folder / "valid.parquet")
    label, groups = valid["click"].to_numpy().astype(np.float64), valid["session"].to_numpy()
    prediction = fitted.predict(valid)["click"].to_numpy()
    expected = {
        "ndcg@5": ndcg(label, prediction, groups=groups, k=5),
        "grouped_auc": grouped_auc(label, prediction, groups=groups),
        "mrr": mrr(label, prediction, groups=groups),
    }
    own = evaluate(folder / "runs" / "first")
    named = fitted.evaluate(folder / "valid.parquet")
    for found in (own.metrics["click"], named.metrics["click"], trained.metrics["click"]):
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    note = expected["ndcg@5"].note
    assert note
    assert f"click.ndcg@5: {note}." in named.findings
    assert fitted.predict(valid.drop_columns(["session"]))["click"].to_numpy() == pytest.approx(prediction)


def test_without_a_group_the_metric_says_so(folder):
    train(declared(folder), folder / "runs" / "second")
    found = evaluate(folder / "runs" / "second").metrics["click"]
    assert found["ndcg@5"].reason == "no groups were given"
    assert found["auc"] > 0


def test_a_group_that_is_absent_is_named(folder):
    with pytest.raises(DataError, match=r"data.group: 'sesion'. Did you mean 'session'"):
        train(declared(folder, group="sesion"), folder / "runs" / "third")
