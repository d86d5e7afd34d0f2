"""Runs that declare a calibration: what lies in the directory, what is predicted, judged and refused."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from polytask.calibration import CALIBRATIONS, Calibrations, calibration_table
from polytask.cli import app
from polytask.config import json_schema, parse_config
from polytask.data.synthetic import Feed
from polytask.errors import CheckpointError, ConfigError, DataError
from polytask.run import RunDirectory, evaluate, fit, load, train
from polytask.tasks import Binary

RUN = {
    "task": [
        {"kind": "binary", "name": "click"},
        {"kind": "binary", "name": "buy", "given": "click"},
        {"kind": "regression", "name": "watch", "given": "click"},
    ],
    "features": {"include": ["user_*", "item_*", "position"]},
    "encoder": {"embedding_dim": 4, "numeric_dim": 4},
    "sharing": {"name": "shared_bottom", "hidden": [8]},
    "train": {"epochs": 2, "batch_size": 128, "device": "cpu"},
    "optimizer": {"lr": 0.02},
    "calibration": {"name": "platt"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    simulator = Feed(seed=5, num_users=50, num_items=30, num_categories=4, rates={"click": 0.25, "buy": 0.3})
    simulator.write(folder / "train.parquet", 1500)
    simulator.write(folder / "valid.parquet", 600, start=1500)
    return folder


def declared(folder, **tables):
    return parse_config({"data": {"train": "train.parquet", "valid": "valid.parquet"}, **RUN, **tables}, folder=folder)


@pytest.fixture(scope="module")
def trained(folder):
    train(declared(folder), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def rows(folder):
    return pq.read_table(folder / "valid.parquet")


def test_each_checkpoint_has_its_calibrations_as_json(trained):
    for name in ("best", "latest"):
        file = RunDirectory(trained).checkpoint(name).with_suffix(".calibration.json")
        found = Calibrations.from_json(json.loads(file.read_text())["calibrations"])
        assert list(found.by_name) == ["click", "buy", "click_and_buy"]
        assert {calibration.name for calibration in found.by_name.values()} == {"platt"}


def test_predictions_are_calibrated_and_raw_ones_beside_them(trained, rows):
    fitted = load(trained)
    scores, raw = fitted.predict(rows, raw=True), load(trained, raw=True).predict(rows)
    assert fitted.predict(rows).column_names == ["click", "buy", "click_and_buy", "watch", "click_and_watch"]
    assert scores.column_names[5:] == ["click_raw", "buy_raw", "click_and_buy_raw"]
    for name in ("click", "buy", "click_and_buy"):
        before = raw[name].to_numpy()
        np.testing.assert_array_equal(scores[f"{name}_raw"].to_numpy(), before)
        np.testing.assert_array_equal(scores[name].to_numpy(), fitted.calibrations.by_name[name].apply(before))
        assert (scores[name].to_numpy() != before).any()
    np.testing.assert_array_equal(scores["watch"].to_numpy(), raw["watch"].to_numpy())


def test_it_was_fitted_to_each_task_on_its_own_validation_rows(trained, rows):
    """Platt's line makes totals alike: of clicks on all rows, of purchases on clicked ones, of both on all."""
    scores = load(trained).predict(rows)
    click, buy = (rows[name].to_numpy(zero_copy_only=False) for name in ("click", "buy"))
    both = np.where(click == 1, buy, 0)
    for name, label, space in (("click", click, click >= 0), ("buy", buy, click == 1), ("click_and_buy", both, click >= 0)):
        assert scores[name].to_numpy()[space].mean() == pytest.approx(label[space].mean(), rel=0.02)


def test_evaluation_has_both_and_calibration_is_better(trained):
    found, raw = evaluate(trained), evaluate(trained).uncalibrated
    assert list(raw) == ["click", "buy", "click_and_buy"]
    for task in raw:
        assert found.metrics[task]["auc"] == pytest.approx(raw[task]["auc"], abs=1e-6)
        assert found.metrics[task]["log_loss"] < raw[task]["log_loss"]
    assert set(found.diagrams["click"]) == {"raw", "calibrated"}
    assert found.report()["uncalibrated"].keys() == raw.keys()


def test_slices_are_those_of_any_column_of_the_table(trained, rows, folder):
    wanted = "item_category"
    own, named = evaluate(trained, by=wanted), evaluate(trained, str(folder / "valid.parquet"), by=wanted)
    assert own.slices == named.slices
    assert set(own.slices) == {"click", "buy", "click_and_buy"}
    click = rows["click"].to_numpy(zero_copy_only=False)
    label, prediction = rows["buy"].to_numpy(zero_copy_only=False).astype(float), load(trained).predict(rows)["buy"].to_numpy()
    slices = np.array([str(value) for value in rows[wanted].to_pylist()])
    assert own.slices["buy"] == calibration_table(label[click == 1], prediction[click == 1], slices[click == 1])
    with pytest.raises(DataError, match="divice"):
        evaluate(trained, by="divice")


def test_slices_of_a_split_table_are_those_of_its_part(folder):
    data = {"train": "train.parquet", "split": {"by": "random", "fractions": [0.6, 0.4]}}
    train(declared(folder, data=data), folder / "split")
    found = evaluate(
        folder / "split", by="user_id" if "user_id" in pq.read_schema(folder / "train.parquet").names else "position"
    )
    assert sum(row.rows for row in found.slices["click"]) == found.rows
    assert 500 < found.rows < 700


def test_what_is_skipped_stays(folder, rows):
    train(declared(folder, calibration={"name": "isotonic", "skip": ["click"], "joint": False}), folder / "skipping")
    fitted = load(folder / "skipping")
    assert list(fitted.calibrations.by_name) == ["buy"]
    assert fitted.predict(rows, raw=True).column_names[-1] == "buy_raw"


def test_a_finished_run_that_lost_its_calibration_says_so(trained, tmp_path):
    fitted = load(trained)
    fitted.save(tmp_path / "copy")
    assert load(tmp_path / "copy").calibrations == fitted.calibrations
    checkpoint = RunDirectory(tmp_path / "copy").checkpoint("best")
    content = json.loads(checkpoint.with_suffix(".calibration.json").read_text())
    checkpoint.with_suffix(".calibration.json").write_text(json.dumps(content | {"checkpoint": "0" * 64}))
    with pytest.raises(CheckpointError, match=r"'best' needs its calibration.*other weights"):
        load(tmp_path / "copy")
    checkpoint.with_suffix(".calibration.json").unlink()
    with pytest.raises(CheckpointError, match="Received: none"):
        load(tmp_path / "copy")
    assert load(tmp_path / "copy", raw=True).calibrations is None


def test_from_a_notebook(folder, rows):
    fitted = fit(
        pq.read_table(folder / "train.parquet"),
        [Binary("click")],
        valid=rows,
        **{key: RUN[key] for key in ("features", "encoder", "sharing", "train", "optimizer")},
        calibration="temperature",
    )
    assert list(fitted.calibrations.by_name) == ["click"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"calibration": {"name": "plat"}}, r"calibration.name.*'plat'.*'platt'"),
        ({"calibration": {"name": "platt", "skip": ["bye"]}}, r"calibration.skip.*'bye'.*'buy'"),
        ({"calibration": {}}, r"calibration.name.*required"),
        ({"calibration": {"name": "platt", "joints": True}}, r"calibration.joints.*joint"),
        ({"data": {"train": "train.parquet"}}, r"validation rows.*data.valid"),
        ({"task": [{"kind": "regression", "name": "watch"}]}, r"kind binary.*Received: regression"),
    ],
)
def test_mistakes_are_told_before_training(folder, tables, words):
    with pytest.raises(ConfigError, match=r"(?s)" + words):
        declared(folder, **tables)


def test_the_schema_names_the_calibrations():
    assert json_schema()["properties"]["calibration"]["properties"]["name"]["enum"] == list(CALIBRATIONS)


def test_the_command_shows_slices_and_draws(trained, tmp_path):
    words = ["evaluate", str(trained), "--calibration-by", "position", "--reliability", str(tmp_path / "feed.svg")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "calibration of click_and_buy by position" in done.output
    assert "before calibration" in done.output
    assert (tmp_path / "feed.svg").read_text().count("<circle") > 20
    found = json.loads(CliRunner().invoke(app, [*words[:4], "--json"]).stdout)
    assert {"slice", "rows", "observed", "predicted", "ratio", "low", "high"} == set(found["calibration"]["click"][0])


def test_the_command_predicts_raw_columns(trained, folder, tmp_path):
    words = ["predict", str(trained), str(folder / "valid.parquet"), "-o", str(tmp_path / "scores.parquet"), "--raw"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert "click_raw" in pq.read_schema(tmp_path / "scores.parquet").names
