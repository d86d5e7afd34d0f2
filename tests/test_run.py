"""A run from table to predictions: what is in the directory, what a resume gives, what is served."""

import json
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import polytask
from polytask.checkpoint import load as read_checkpoint
from polytask.config import parse_config
from polytask.data.synthetic import Feed
from polytask.errors import CheckpointError, ConfigError, DataError
from polytask.metrics import auc
from polytask.run import RunDirectory, check, columns_of, evaluate, fit, fresh_directory, load, prepare, propose, train
from polytask.run._columns import to_arrow
from polytask.spaces import Clicked
from polytask.tasks import Binary, Count, Multiclass, Quantile, Regression

FEED = Feed(seed=3, num_users=60, num_items=40, num_categories=4, rates={"click": 0.25, "buy": 0.3})
TASKS = [
    {"kind": "binary", "name": "click"},
    {"kind": "binary", "name": "buy", "given": "click"},
    {"kind": "regression", "name": "watch", "given": "click"},
    {"kind": "binary", "name": "like", "auxiliary": True},
]
SMALL = {
    "task": TASKS,
    "features": {"exclude": ["session", "time", "history*"]},
    "sharing": {"name": "mmoe", "num_experts": 2, "hidden": [8]},
    "encoder": {"embedding_dim": 4, "numeric_dim": 4},
    "train": {"epochs": 2, "batch_size": 128, "device": "cpu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    FEED.write(folder / "train.parquet", 1500)
    FEED.write(folder / "valid.parquet", 500, start=1500)
    return folder


def declared(folder, **tables):
    return parse_config({"data": {"train": "train.parquet", "valid": "valid.parquet"}, **SMALL, **tables}, folder=folder)


@pytest.fixture(scope="module")
def trained(folder):
    train(declared(folder), folder / "runs" / "first")
    return folder / "runs" / "first"


def weights(directory, name="latest"):
    return read_checkpoint(RunDirectory(directory).checkpoint(name), parts=["model"])["model"]


def test_the_directory_holds_all_it_takes(trained):
    found = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    wanted = {"config.toml", "preprocessing.json", "metrics.jsonl", "result.json"}
    assert wanted | {"checkpoints/latest.safetensors", "checkpoints/best.safetensors"} <= found
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records if record["kind"] == "valid"] == [1, 2]
    assert not [path for path in trained.rglob("*") if path.suffix == ".part"]


def test_what_was_validated_is_what_is_loaded(trained, folder):
    best = RunDirectory(trained).read_result()["trained"]["best"]["metrics"]
    found = load(trained).evaluate(folder / "valid.parquet").metrics
    served = {"click", "buy", "click_and_buy", "watch", "click_and_watch"}  # an auxiliary task is validated, not served
    assert found.keys() == served
    for task, values in found.items():
        for name, value in values.items():
            assert value == pytest.approx(best[task][name], abs=1e-6)
    assert evaluate(trained).metrics == found


def test_a_finished_run_is_not_trained_again(trained, folder):
    before = (trained / "metrics.jsonl").read_bytes(), weights(trained)
    again = train(declared(folder), trained)
    assert again.finished_before
    assert (trained / "metrics.jsonl").read_bytes() == before[0]


def test_more_epochs_go_on_from_where_it_was(folder, tmp_path):
    short = declared(folder, schedule={"kind": "constant"})
    long = declared(folder, schedule={"kind": "constant"}, train={**SMALL["train"], "epochs": 4})
    train(short, tmp_path / "run")
    resumed = train(long, tmp_path / "run")
    assert not resumed.finished_before
    train(long, tmp_path / "straight")
    for name, tensor in weights(tmp_path / "straight").items():
        assert torch.equal(tensor, weights(tmp_path / "run")[name]), name


def test_another_configuration_is_refused_with_its_differences(trained, folder):
    with pytest.raises(CheckpointError, match=r"sharing\.num_experts: 2 -> 3"):
        train(declared(folder, sharing={"name": "mmoe", "num_experts": 3, "hidden": [8]}), trained)
    assert load(trained).config.sharing.options["num_experts"] == 2


def test_a_table_that_changed_is_not_taken_up(folder, tmp_path):
    pq.write_table(pq.read_table(folder / "train.parquet"), tmp_path / "train.parquet")
    config = declared(tmp_path, data={"train": "train.parquet"})
    train(config, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    pq.write_table(pq.read_table(folder / "train.parquet").slice(0, 1400), tmp_path / "train.parquet")
    before = (tmp_path / "run" / "preprocessing.json").read_bytes()
    with pytest.raises(CheckpointError, match="training rows"):
        train(config, tmp_path / "run")
    assert (tmp_path / "run" / "preprocessing.json").read_bytes() == before


def test_fresh_directories_are_numbered(tmp_path):
    assert fresh_directory(tmp_path / "feed") == tmp_path / "feed"
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed-2").mkdir()
    assert fresh_directory(tmp_path / "feed") == tmp_path / "feed-3"


def test_encoded_rows_are_shared_by_runs_of_one_table(trained, folder):
    cache = folder / "runs" / ".cache"
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2
    train(declared(folder, balancer={"name": "uncertainty"}), folder / "runs" / "second")
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == before


def test_a_split_fits_on_the_training_rows_alone(folder, tmp_path):
    data = {"train": "train.parquet", "split": {"by": "group", "column": "user_id", "fractions": [0.5, 0.3, 0.2]}}
    prepared = prepare(declared(folder, data=data), tmp_path)
    assert sum(map(len, prepared.rows.values())) == 1500
    assert list(prepared.rows) == ["train", "valid", "test"]
    table = pq.read_table(folder / "train.parquet").to_pandas()
    cities = next(field for field in prepared.preprocessing.categorical if field.name == "user_city")
    assert "user_id" not in [field.name for field in prepared.preprocessing.categorical]
    assert 0 < len(cities.values) < table["user_city"].nunique()
    assert set(cities.values) < set(table["user_city"])


def test_predictions_stream_into_every_format(trained, folder, tmp_path):
    fitted = load(trained)
    wanted = fitted.predict(folder / "valid.parquet", keep=["user_id", "position"])
    assert wanted.column_names == ["user_id", "position", "click", "buy", "click_and_buy", "watch", "click_and_watch"]
    assert wanted["user_id"].to_pylist() == pq.read_table(folder / "valid.parquet")["user_id"].to_pylist()
    for suffix in ("parquet", "csv", "csv.gz", "arrow", "feather"):
        rows = fitted.predict_into(folder / "valid.parquet", tmp_path / f"scores.{suffix}", keep=["user_id", "position"])
        assert rows == 500
        found = polytask.open_table(tmp_path / f"scores.{suffix}")
        assert list(found.names) == wanted.column_names
        read = pa.Table.from_batches(found.batches())
        np.testing.assert_allclose(read["click_and_buy"].to_numpy(), wanted["click_and_buy"].to_numpy(), rtol=1e-6)
    with pytest.raises(ConfigError, match=r"'\.parquet'"):
        fitted.predict_into(folder / "valid.parquet", tmp_path / "scores.parqet")
    assert not (tmp_path / "scores.parqet").exists()


def test_a_failed_prediction_leaves_the_old_file(trained, folder, tmp_path):
    (tmp_path / "scores.csv").write_text("old")
    table = pq.read_table(folder / "valid.parquet")
    broken = pa.table({**{name: table[name] for name in table.column_names}, "item_price": pa.array([math.inf] * 500)})
    with pytest.raises(DataError, match="item_price"):
        load(trained).predict_into(broken, tmp_path / "scores.csv")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("scores.csv", "old")]


def test_predictions_need_no_labels_and_bear_what_was_never_seen(trained, folder):
    table = pq.read_table(folder / "valid.parquet").drop_columns(["click", "buy", "watch", "like"])
    fitted = load(trained)
    known = fitted.predict(table)
    place = table.column_names.index("user_city")
    unseen = table.set_column(place, "user_city", pa.array(["Atlantis"] * 500))
    other = fitted.predict(unseen)
    assert not known.equals(other)
    assert np.isfinite(other["click"].to_numpy()).all()


def test_missing_columns_are_all_named_with_the_nearest(trained, folder):
    table = pq.read_table(folder / "valid.parquet").drop_columns(["user_age"]).rename_columns({"device": "devise"})
    with pytest.raises(DataError, match=r"(?s)'user_age'.*|'device'.*Did you mean 'devise'") as caught:
        load(trained).predict(table)
    assert "'user_age'" in str(caught.value)
    assert "Did you mean 'devise'?" in str(caught.value)
    with pytest.raises(DataError, match="'click'"):
        load(trained).evaluate(pq.read_table(folder / "valid.parquet").drop_columns(["click"]))


def test_joint_probability_is_the_product_also_where_it_underflows():
    a, b = torch.tensor([[0.3], [-60.0]]), torch.tensor([[-1.2], [-30.0]])
    found = Clicked([Binary("click"), Binary("buy", given="click")]).predict({"click": a, "buy": b})["click_and_buy"]
    assert found[0].item() == pytest.approx(torch.sigmoid(a[0] * 1.0).item() * torch.sigmoid(b[0]).item(), rel=1e-6)
    assert found[1].item() == pytest.approx(math.exp(-90.0), rel=1e-5)


def test_a_prediction_near_a_large_mean_keeps_its_digits():
    """A time stamp in float32 is right to two minutes."""
    space = Clicked([Regression("arrives", mean=1.7e9, scale=2.0), Binary("late")])
    columns = columns_of(space)
    arrays = to_arrow(columns, space.predict({"arrives": torch.tensor([[0.125], [3.0]]), "late": torch.zeros(2, 1)}))
    assert arrays["arrives"].to_pylist() == [1_700_000_000.25, 1_700_000_006.0]
    assert [str(arrays[column.name].type) for column in columns] == ["double", "float"]


def test_columns_of_chains_and_of_wide_predictions():
    tasks = [
        Binary("view"),
        Binary("click", given="view"),
        Binary("buy", given="click"),
        Count("visits", auxiliary=True),
        Quantile("minutes", given="click", levels=(0.1, 0.9)),
        Multiclass("device", classes=("phone", "desktop")),
    ]
    assert [column.name for column in columns_of(Clicked(tasks))] == [
        "view",
        "click",
        "view_and_click",
        "buy",
        "view_and_click_and_buy",
        "minutes_q10",
        "minutes_q90",
        "device_phone",
        "device_desktop",
    ]


def test_fit_on_frames_gives_the_frame_that_was_given(folder):
    table = pq.read_table(folder / "train.parquet")
    settings = {key: SMALL[key] for key in ("features", "sharing", "encoder", "train")}
    tasks = [Binary("click"), Binary("buy", given="click"), Regression("watch", given="click")]
    valid = pq.read_table(folder / "valid.parquet")
    from_pandas = fit(table.to_pandas(), tasks, valid=valid.to_pandas(), **settings)
    frame = valid.to_pandas().set_index(np.arange(500) + 7)
    predicted = from_pandas.predict(frame)
    assert isinstance(predicted, pd.DataFrame)
    assert predicted.index.equals(frame.index)
    from_polars = fit(pl.from_arrow(table), tasks, valid=pl.from_arrow(valid), **settings)
    assert isinstance(from_polars.predict(pl.from_arrow(valid)), pl.DataFrame)
    np.testing.assert_array_equal(predicted["click"].to_numpy(), from_polars.predict(valid)["click"].to_numpy())


def test_saved_and_loaded_predicts_the_same(folder, tmp_path):
    table = pq.read_table(folder / "train.parquet")
    fitted = fit(
        table, [Binary("click")], sharing="shared_bottom", train={"epochs": 1}, features={"include": ["user_*", "position"]}
    )
    fitted.save(tmp_path / "model")
    assert load(tmp_path / "model").predict(table).equals(fitted.predict(table))
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.toml", "preprocessing.json", "checkpoints"}


def test_fit_learns_what_is_to_be_learnt():
    rng = np.random.default_rng(0)
    x, city = rng.normal(size=3000), rng.integers(0, 4, 3000)
    logit = 2 * x + np.array([-2.0, 0.0, 1.0, 2.0])[city]
    label = (rng.random(3000) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    table = pa.table({"x": x, "city": pa.array([f"c{c}" for c in city]), "y": label, "amount": 100 + 50 * x})
    fitted = fit(table, [Binary("y"), Regression("amount")], train={"epochs": 8, "batch_size": 64}, optimizer={"lr": 5e-3})
    predicted = fitted.predict(table)
    assert auc(label.astype(np.float32), predicted["y"].to_numpy()) > auc(label.astype(np.float32), logit) - 0.01
    assert np.sqrt(np.mean((predicted["amount"].to_numpy() - (100 + 50 * x)) ** 2)) < 10


def test_check_finds_constants_and_labels_in_disguise(folder):
    table = pq.read_table(folder / "train.parquet")
    table = table.append_column("always", pa.array([4] * 1500)).append_column(
        "clicked", pa.array(table["click"].to_numpy() * 2.0)
    )
    pq.write_table(table, folder / "odd.parquet")
    features = [{"kind": "numeric", "name": name} for name in ("always", "clicked", "user_age")]
    config = declared(folder, data={"train": "odd.parquet"}, feature=features, features={"include": ["device"]})
    found = check(config, folder / "runs" / "odd")
    assert len(found["warnings"]) == 2
    assert "'always' is the same" in found["warnings"][0]
    assert "'clicked' alone predicts task 'click'" in found["warnings"][1]
    assert found["rows"] == {"train": 1500}
    clicks = int(table["click"].to_numpy().sum())
    assert [task["labelled train"] for task in found["tasks"]] == [1500, clicks, clicks, 1500]
    assert found["tasks"][0]["without features"] == pytest.approx(clicks / 1500, abs=1e-6)
    assert [feature["feature"] for feature in found["features"]] == ["device", "always", "clicked", "user_age"]
    model = found["model"][-1]
    assert model["parameters"] > 0
    assert 0 < model["private"] < 1
    assert [part["junction"] for part in found["model"]] == [None, "2 places", None, None]


def test_unknown_columns_are_reported_together(folder):
    config = declared(
        folder,
        task=[{"kind": "binary", "name": "clik"}, {"kind": "binary", "name": "like"}],
        feature=[{"kind": "numeric", "name": "age"}],
        features={"exclude": ["sesion"]},
        data={"train": "train.parquet", "weight": "wait"},
    )
    with pytest.raises(DataError) as caught:
        prepare(config, folder / "nowhere")
    for text in (
        "task.clik.label: 'clik'. Did you mean 'click'?",
        "feature.age: 'age'",
        "'sesion'. Did you mean 'session'?",
        "data.weight",
    ):
        assert text in str(caught.value)


def test_a_proposed_run_can_be_checked(folder, tmp_path):
    text = propose(str(folder / "train.parquet"), out=tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text(text)
    config = polytask.read_config(tmp_path / "run.toml")
    assert [task.name for task in config.tasks] == ["click", "buy", "watch", "like"]
    assert check(config, tmp_path / "run")["rows"] == {"train": 1200, "valid": 150, "test": 150}
    named = propose(str(folder / "train.parquet"), out=tmp_path / "run.toml", labels=["device"])
    assert [task.kind for task in parse_config(__import__("tomllib").loads(named)).tasks] == ["multiclass"]
    with pytest.raises(ConfigError, match="'device'"):
        propose(str(folder / "train.parquet"), out=tmp_path / "run.toml", labels=["devise"])
