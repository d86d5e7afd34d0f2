import json
import tomllib

import numpy as np
import pyarrow.parquet as pq
import pytest

from polytask.data.catalog import CorrelatedRegressionRows, FeedLog
from polytask.data.synthetic import oracle
from polytask.errors import ConfigError


def read(made):
    return {part: pq.read_table(path) for part, path in made.files.items()}


def test_feed_is_cut_in_time_and_its_truth_stands_beside(tmp_path):
    dataset = FeedLog(rows=6_000, seed=3, correlation=-0.5, missing=0.4)
    made = dataset.fetch(tmp_path)
    tables = read(made)
    assert {part: made.rows[part] for part in ("train", "valid", "test")} == {"train": 4_800, "valid": 600, "test": 600}
    feed = dataset.generator
    assert tables["valid"].equals(feed.table(4_800, 5_400))
    assert tables["truth_test"].equals(feed.truth(5_400, 6_000))
    assert tables["train"]["like"].null_count / 4_800 == pytest.approx(0.4, abs=0.08)
    assert oracle(tables["train"], tables["truth_train"])["click"].auc > 0.75


def test_a_run_of_the_feed_reads_no_answer(tmp_path):
    made = FeedLog(rows=200).fetch(tmp_path)
    run = tomllib.loads(made.run.read_text())
    assert run["data"] == {"train": "train.parquet", "valid": "valid.parquet", "test": "test.parquet"}
    inputs = {feature["name"] for feature in run["feature"]}
    assert not {name for name in inputs if name.startswith(("true_", "drawn_", "logit_"))}
    assert inputs | {"history_weight", "session", "time", "click", "buy", "watch", "like"} == set(
        pq.read_schema(made.files["train"]).names
    )


def test_regression_rows_are_those_of_the_generator(tmp_path):
    dataset = CorrelatedRegressionRows(rows=1_000, recipe="keras_mmoe", correlation=0.9, seed=2)
    tables = read(dataset.fetch(tmp_path))
    assert tables["test"].equals(dataset.generator.table(900, 1_000))
    assert [table.num_rows for table in tables.values()] == [800, 100, 100]
    y = np.stack([tables["train"][name].to_numpy() for name in ("y_1", "y_2")])
    assert np.corrcoef(y)[0, 1] == pytest.approx(dataset.generator.label_correlation, abs=0.1)


def test_files_say_what_they_were_made_of(tmp_path):
    made = FeedLog(rows=100, seed=4).fetch(tmp_path)
    about = json.loads(pq.read_schema(made.files["valid"]).metadata[b"polytask"])
    assert (about["dataset"], about["part"], about["options"]["seed"]) == ("feed", "valid", 4)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="at least 10 rows"):
        FeedLog(rows=3)
    with pytest.raises(ConfigError, match="keras_mmoe"):
        CorrelatedRegressionRows(recipe="keras_mmoo")
