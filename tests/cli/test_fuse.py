"""`polytask fuse`: scores by a file of weights, and the search for weights."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from polytask.fusion import Fusion, WeightedProduct
from polytask.metrics import ndcg


@pytest.fixture(scope="module")
def scored(trained, feed, polytask, tmp_path_factory):
    """Predictions of the held-out rows, as `predict` writes them."""
    out = tmp_path_factory.mktemp("scored") / "predictions.parquet"
    assert polytask("predict", trained, feed / "valid.parquet", "-o", out, "--keep", "session").exit_code == 0
    return out


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "fusion.json"
    WeightedProduct({"click": 1.0, "click_and_buy": 0.5}).to_json(path)
    return path


def test_scores_are_one_more_column(scored, weights, polytask, tmp_path):
    out = tmp_path / "out.parquet"
    result = polytask("fuse", scored, "--weights", weights, "-o", out)
    assert result.exit_code == 0, result.output
    assert "400 rows" in result.stderr
    before, after = pq.read_table(scored), pq.read_table(out)
    assert after.column_names == [*before.column_names, "score"]
    assert after.drop_columns(["score"]).equals(before)
    columns = {name: before[name].to_numpy().astype(np.float64) for name in ("click", "click_and_buy")}
    assert (after["score"].to_numpy() == Fusion.from_json(weights).of_arrays(columns)).all()

    other = json.loads(weights.read_text())
    other["weights"]["click"] = 0.0  # the file alone changes the order
    weights.write_text(json.dumps(other))
    assert polytask("fuse", scored, "--weights", weights, "-o", tmp_path / "out.csv", "--column", "rank_by").exit_code == 0
    again = pa.csv.read_csv(tmp_path / "out.csv")["rank_by"].to_numpy()
    assert np.argsort(again).tolist() == np.argsort(columns["click_and_buy"]).tolist()


SEARCH = ["--search", "ndcg@5:click", "--search", "value_per_impression@1:watch", "--group", "session"]


def test_a_search_writes_weights_that_fuse_takes(scored, feed, polytask, tmp_path):
    valid = pq.read_table(feed / "valid.parquet")
    paid = valid.set_column(valid.column_names.index("watch"), "watch", pa.compute.fill_null(valid["watch"], 0.0))
    pq.write_table(paid, tmp_path / "labels.parquet")
    words = ["fuse", scored, *SEARCH, "--labels", tmp_path / "labels.parquet", "-p", "click", "-p", "click_and_buy"]
    result = polytask(*words, "-o", tmp_path / "search", "--trials", 6)
    assert result.exit_code == 0, result.output
    assert "0 (equal shares)" in result.stdout
    found = json.loads(polytask(*words, "-o", tmp_path / "search", "--trials", 6, "--json").stdout)
    assert found["trials"] == 6
    assert {path.name for path in (tmp_path / "search").iterdir()} >= {"fusion.json", "trials.csv", "front.json", "front.svg"}
    with (tmp_path / "search" / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    best = next(row for row in trials if int(row["trial"]) == found["best"]["trial"])

    out = tmp_path / "out.parquet"
    assert polytask("fuse", scored, "--weights", tmp_path / "search" / "fusion.json", "-o", out, "--json").exit_code == 0
    score, click, session = pq.read_table(out)["score"], valid["click"], valid["session"]
    own = ndcg(click.to_numpy().astype(float), score.to_numpy(), groups=session.to_numpy(), k=5)
    assert float(best["ndcg@5:click"]) == pytest.approx(own, rel=1e-9)

    template = [
        "fuse",
        scored,
        *SEARCH,
        "--labels",
        tmp_path / "labels.parquet",
        "--weights",
        tmp_path / "search" / "fusion.json",
    ]
    again = json.loads(polytask(*template, "-o", tmp_path / "again", "--trials", 6, "--json").stdout)
    assert again["front"] == found["front"]


def test_every_mistake_of_a_search_at_once(scored, polytask, tmp_path):
    words = [
        "--search",
        "ndgc@5:click",
        "--search",
        "mrr:likes",
        "--search",
        "auc:click",
        "-p",
        "click",
        "-p",
        "bye",
        "--against",
        "x",
    ]
    result = polytask("fuse", scored, *words, "--fusion", "weighted_sun", "-o", tmp_path / "search")
    assert result.exit_code == 2
    for text in (
        "Did you mean 'ndcg'?",
        "needs groups",
        "column 'likes'",
        "column 'bye'",
        "must be a label",
        "counts against a row must be fused",
        "Did you mean 'weighted_sum'?",
    ):
        assert text in result.stderr
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Scores need weights"),
        (["--weights", "none.json"], "none.json must be a file of weights"),
        (["--weights", "W", "--group", "session", "--seconds", "3"], "no use here. Received: --group, --seconds"),
        (["--weights", "W", "--search", "auc:session", "-p", "click"], "no use here. Received: --prediction"),
        (["--weights", "W", "--column", "click"], "a name of its own"),
        (["--search", "auc:session", "-p", "click", "-p", "click_and_buy", "--trials", "0"], "A search needs a trial"),
    ],
)
def test_one_mistake(scored, weights, polytask, tmp_path, words, text):
    words = [weights if word == "W" else word for word in words]
    result = polytask("fuse", scored, *words, "-o", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert text in result.stderr
    assert not (tmp_path / "out.parquet").exists()


def test_predictions_that_are_absent_are_named(scored, weights, polytask, tmp_path):
    table = pq.read_table(scored)
    pq.write_table(table.drop_columns(["click_and_buy"]), tmp_path / "less.parquet")
    result = polytask("fuse", tmp_path / "less.parquet", "--weights", weights, "-o", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert "'click_and_buy'" in result.stderr
    holes = table.set_column(
        table.column_names.index("click"), "click", pa.array([None, *table["click"].to_pylist()[1:]], pa.float32())
    )
    pq.write_table(holes, tmp_path / "holes.parquet")
    result = polytask("fuse", tmp_path / "holes.parquet", "--weights", weights, "-o", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert "Prediction 'click' must be finite. Received: nan in" in result.stderr
    assert not (tmp_path / "out.parquet").exists()
