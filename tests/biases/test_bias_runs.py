"""Declared runs with a bias: bound, trained, restored, judged and served without its columns."""

import json
import math

import numpy as np
import pytest

from polytask.config import parse_config
from polytask.data.synthetic import Positions
from polytask.errors import ConfigError, DataError
from polytask.run import check, evaluate, fit, load, train
from polytask.tasks import Binary

WORLD = Positions(seed=3, num_queries=20, num_items=30, randomised=0.3)
BIAS = {"name": "shallow_tower", "columns": ["position", "device"], "tasks": ["click"]}
SMALL = {
    "task": [{"kind": "binary", "name": "click"}],
    "sharing": {"name": "shared_bottom", "hidden": [16]},
    "encoder": {"name": "tabular", "embedding_dim": 4, "numeric_dim": 4},
    "features": {"exclude": ["session", "device", "randomised"]},
    "train": {"epochs": 2, "batch_size": 256},
    "optimizer": {"lr": 5e-3},
}
KINDS = {
    "shallow_tower": {"link": "product"},
    "inverse_propensity": {"random": "randomised"},
    "position_feature": {"served": {"position": 1}},
    "position_adversary": {"strength": 0.01},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    WORLD.write(folder / "train.parquet", 6_000)
    WORLD.write(folder / "valid.parquet", 1_000, start=6_000)
    return folder


def declared(tables, **bias):
    return SMALL | {
        "data": {"train": str(tables / "train.parquet"), "valid": str(tables / "valid.parquet")},
        "bias": {**BIAS, **bias},
    }


@pytest.mark.parametrize("name", KINDS)
def test_a_run_is_trained_judged_and_served_without_the_columns(name, tables, tmp_path):
    config = parse_config(declared(tables, name=name, **KINDS[name]))
    trained = train(config, tmp_path / "run")
    assert trained.metrics["click"]["auc"] > 0.6
    again = load(tmp_path / "run")
    log = WORLD.table(7_000, 7_200)
    scores = again.predict(log)["click"].to_numpy()
    assert np.array_equal(scores, again.predict(log.drop_columns(["position", "device", "randomised"]))["click"].to_numpy())
    assert np.array_equal(scores, again.predict(log, keep=["position"])["click"].to_numpy())
    moved = log.set_column(log.column_names.index("position"), "position", log["position"].take(np.arange(199, -1, -1)))
    assert np.array_equal(scores, again.predict(moved)["click"].to_numpy())
    judged = again.evaluate(log.drop_columns(["position", "device"])).metrics["click"]
    assert judged == again.evaluate(log).metrics["click"]


@pytest.mark.parametrize("name", ["shallow_tower", "inverse_propensity"])
def test_the_curve_lies_in_the_run_and_is_shown(name, tables, tmp_path):
    from typer.testing import CliRunner

    from polytask.cli import app

    train(parse_config(declared(tables, name=name, **KINDS[name])), tmp_path / "run")
    lines = json.loads((tmp_path / "run" / "bias.json").read_text())
    assert [line["position"] for line in lines if line["device"] == "phone"] == list(range(1, 11))
    curve = {line["position"]: line["examination"] for line in lines if line["device"] == "phone"}
    assert curve[1] == 1
    assert curve[2] > curve[4] > curve[9]
    assert evaluate(tmp_path / "run").report()["bias"] == lines
    shown = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run")]).stdout
    assert "examination, click" in shown
    assert f"{curve[4]:.4f}" in shown


def test_an_interrupted_run_estimates_again_and_goes_on_alike(tables, tmp_path):
    config = parse_config(declared(tables, name="inverse_propensity", same=["query_id", "item_id"]))
    whole = train(config, tmp_path / "whole")
    short = parse_config(declared(tables, name="inverse_propensity", same=["query_id", "item_id"]), settings=["train.epochs=1"])
    train(short, tmp_path / "run")
    assert train(config, tmp_path / "run").step == whole.step
    ours, other = (load(tmp_path / place, checkpoint="latest").model.bias.curve() for place in ("run", "whole"))
    assert ours == other


def test_columns_need_no_declaration_and_are_categorical(tables):
    found = check(parse_config(declared(tables)))
    kinds = {line["feature"]: line["kind"] for line in found["features"]}
    assert kinds["position"] == kinds["device"] == "categorical"
    assert "session" not in kinds
    table = declared(tables) | {"feature": [{"kind": "numeric", "name": "match"}]}
    del table["features"]
    kinds = {line["feature"]: line["kind"] for line in check(parse_config(table))["features"]}
    assert kinds == {"match": "numeric", "position": "categorical", "device": "categorical"}


def test_the_resolved_configuration_is_read_back(tables, tmp_path):
    config = parse_config(declared(tables, dropout=0.2))
    assert config.bias.options["dropout"] == 0.2
    again = parse_config(dict(config.resolved))
    assert again.resolved["bias"] == config.resolved["bias"] == {**BIAS, "known": [], "dropout": 0.2, "link": "logit"}
    assert again.digest() == config.digest()
    assert config.digest() != parse_config(declared(tables)).digest()
    without = declared(tables)
    del without["bias"]
    assert parse_config(without).bias is None


@pytest.mark.parametrize(
    ("bias", "text"),
    [
        ({"name": "shalow_tower"}, "Did you mean 'shallow_tower'"),
        ({"tasks": ["clik"]}, "Did you mean 'click'"),
        ({"link": "logti"}, "Did you mean 'logit'"),
        ({"dropot": 0.1}, "'dropout'"),
        ({"columns": []}, "position first"),
        ({"name": "inverse_propensity"}, "exactly one"),
        ({"name": "inverse_propensity", "examination": [1.0, 1.5]}, r"in \(0, 1\]"),
        ({"name": "position_feature", "served": {"postion": 1}}, "hidden columns"),
    ],
)
def test_mistakes_are_told_before_any_table_is_read(bias, text):
    with pytest.raises(ConfigError, match=text) as caught:
        parse_config(SMALL | {"data": {"train": "nowhere.parquet"}, "bias": {**BIAS, **bias}})
    assert "bias" in str(caught.value)


def test_what_fits_is_bound_without_the_table():
    table = {"phone": [1.0, 0.5, 0.4], "desktop": [1.0, 0.8, 0.7]}
    for bias in (
        {"name": "inverse_propensity", "examination": [1.0, 0.5, 0.3]},
        {"name": "inverse_propensity", "examination": table},
        {"name": "position_feature", "served": {"position": 7, "device": "phone"}},
    ):
        assert parse_config(SMALL | {"data": {"train": "nowhere.parquet"}, "bias": {**BIAS, **bias}}).bias.name == bias["name"]


def test_a_column_that_is_not_there_is_named(tables):
    with pytest.raises(DataError, match="Did you mean 'position'"):
        check(parse_config(declared(tables, columns=["positon"])))


def test_a_bias_from_a_frame_in_one_call():
    log = WORLD.table(0, 3_000).drop_columns(["session", "randomised"])
    fitted = fit(log, [Binary("click")], bias=BIAS, sharing="shared_bottom", train={"epochs": 1})
    scores = fitted.predict(WORLD.candidates)["click"].to_numpy()
    assert len(scores) == 600
    assert all(math.isfinite(score) for score in scores)
