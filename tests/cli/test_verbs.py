"""`init`, `check`, `evaluate`, `predict`, `list`: what they print and what they write."""

import json
import resource
import tomllib

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest


def test_init_writes_what_check_accepts(feed, polytask, tmp_path):
    out = tmp_path / "mine.toml"
    result = polytask("init", feed / "train.parquet", "-o", out)
    assert result.exit_code == 0
    assert "polytask check" in result.stderr
    assert {task["name"] for task in tomllib.loads(out.read_text())["task"]} == {"click", "buy", "watch", "like"}
    assert out.read_text().count("#") > 10
    assert polytask("check", out).exit_code == 0
    again = polytask("init", feed / "train.parquet", "-o", out)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert polytask("init", feed / "train.parquet", "-o", out, "--force", "--task", "device").exit_code == 0
    assert [task["kind"] for task in tomllib.loads(out.read_text())["task"]] == ["multiclass"]


def test_check_shows_tasks_features_and_model(feed, polytask):
    text = polytask("check", feed / "run.toml").stdout
    for word in ("click", "buy", "labelled train", "user_city", "categorical", "sharing", "parameters"):
        assert word in text
    found = json.loads(polytask("check", feed / "run.toml", "--json").stdout)
    assert found["rows"] == {"train": 1500, "valid": 400}
    assert [task["given"] for task in found["tasks"]] == [None, "click", "click"]


def test_evaluate(trained, feed, polytask):
    report = json.loads(polytask("evaluate", trained, feed / "valid.parquet", "--json").stdout)
    assert report["rows"] == 400
    assert 0 < report["metrics"]["click"]["auc"] < 1
    assert report["gates"]["entropy/click"] == pytest.approx(1.0, abs=0.5)
    own = json.loads(polytask("evaluate", trained, "--json").stdout)
    assert own["metrics"] == report["metrics"]
    text = polytask("evaluate", trained).stdout
    assert "expert 1" in text
    assert f"{report['metrics']['click']['auc']:.4f}" in text


def test_evaluate_without_a_run(feed, polytask, tmp_path):
    assert "There is no run here" in polytask("evaluate", tmp_path).stderr
    missing = polytask("evaluate", feed, feed / "valid.parquet")
    assert missing.exit_code == 2


def test_an_unknown_checkpoint_names_the_nearest(trained, polytask):
    assert "Did you mean 'latest'?" in polytask("evaluate", trained, "--checkpoint", "lates").stderr


def test_predict(trained, feed, polytask, tmp_path):
    out = tmp_path / "scores.csv"
    result = polytask("predict", trained, feed / "valid.parquet", "-o", out, "--keep", "user_id")
    assert result.exit_code == 0
    assert "400 rows" in result.stderr
    table = pa.csv.read_csv(out)
    assert table.column_names == ["user_id", "click", "buy", "click_and_buy", "watch", "click_and_watch"]
    product = pa.compute.multiply(table["click"], table["buy"]).to_numpy()
    assert table["click_and_buy"].to_numpy() == pytest.approx(product, rel=1e-5)


def test_predict_names_missing_columns(trained, feed, polytask, tmp_path):
    pq.write_table(pq.read_table(feed / "valid.parquet").drop_columns(["user_city", "item_price"]), tmp_path / "new.parquet")
    result = polytask("predict", trained, tmp_path / "new.parquet", "-o", tmp_path / "scores.csv")
    assert result.exit_code == 2
    assert "'user_city'" in result.stderr
    assert "'item_price'" in result.stderr
    assert "new.parquet" in result.stderr
    assert not (tmp_path / "scores.csv").exists()


def test_a_full_disk_leaves_nothing(trained, feed, command, tmp_path):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # noqa: E731
    process = command("predict", trained, feed / "valid.parquet", "-o", tmp_path / "scores.csv", preexec_fn=limit)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "must be writable" in err
    assert list(tmp_path.iterdir()) == []


def test_list(polytask):
    text = polytask("list").stdout
    for word in ("binary", "mmoe", "uncertainty", "tabular", "auc", "census_income", "weighted_product", "snips"):
        assert word in text
    found = json.loads(polytask("list", "sharing", "--json").stdout)
    assert found["sharing"].keys() >= {"single_task", "shared_bottom", "mmoe", "ple", "omoe"}
    assert "num_experts" in polytask("list", "mmoe").stdout
    assert json.loads(polytask("list", "mmoe", "--json").stdout)["keys"]["num_experts"]["default"] == 8
    assert "Did you mean 'mmoe'?" in polytask("list", "mmeo").stderr
    assert json.loads(polytask("list", "--schema").stdout)["properties"]["sharing"]
