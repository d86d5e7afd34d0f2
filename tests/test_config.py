"""Declared runs: every mistake at once with its place, overrides, what is written back, what a resume may change."""

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w

from polytask.config import FAMILIES, differences, json_schema, options_model, parse_config, places, read_config
from polytask.errors import ConfigError

RUN = {
    "data": {"train": "train.parquet", "valid": "valid.parquet"},
    "task": [{"kind": "binary", "name": "click"}, {"kind": "binary", "name": "buy", "given": "click"}],
    "sharing": {"name": "mmoe", "num_experts": 3},
    "balancer": {"name": "uncertainty"},
    "train": {"epochs": 5, "batch_size": 64},
}


def run(**tables):
    return {**RUN, **tables}


def complaint(table, settings=()):
    with pytest.raises(ConfigError) as caught:
        parse_config(table, settings=settings)
    return str(caught.value)


def mistakes(table, settings=()):
    """Text by place."""
    return dict(line.strip().split(": ", 1) for line in complaint(table, settings).splitlines()[1:])


def test_names_become_objects_and_defaults_are_those_of_the_signatures():
    config = parse_config(RUN)
    assert [task.name for task in config.tasks] == ["click", "buy"]
    assert config.tasks[1].given == "click"
    assert config.sharing.name == "mmoe"
    assert config.sharing.options["num_experts"] == 3
    for key, field in options_model(FAMILIES["sharing"].members["mmoe"], FAMILIES["sharing"].supplied).model_fields.items():
        if key != "num_experts":
            assert config.sharing.options[key] == field.get_default(call_default_factory=True)
    assert config.plan.epochs == 5
    assert config.train.batch_size == 64


def test_all_mistakes_at_once_each_with_place_value_and_nearest_name():
    table = {
        "data": {"trian": "a.csv", "split": {"by": "tiem"}},
        "task": [
            {"kind": "binray", "name": "click"},
            {"kind": "binary", "name": "buy", "wieght": 2.0},
            {"kind": "regression", "name": "watch", "weight": "much"},
        ],
        "sharing": {"name": "mmoe", "num_expert": 8},
        "balancer": {"name": "uncertanty"},
        "optimizer": {"lr": {"shard": 1e-3}},
        "train": {"epochs": "three", "batch_size": 0},
        "shraing": {},
    }
    found = mistakes(table)
    assert "Received: 'a.csv'. Did you mean 'train'?" in found["data.trian"]
    assert "'tiem'" in found["data.split.by"]
    assert "Did you mean 'binary'?" in found["task.click.kind"]
    assert "Received: 2.0. Did you mean 'weight'?" in found["task.buy.wieght"]
    assert "'much'" in found["task.watch.weight"]
    assert "Received: 8. Did you mean 'num_experts'?" in found["sharing.num_expert"]
    assert "Did you mean 'uncertainty'?" in found["balancer.name"]
    assert "Did you mean 'shared'?" in found["optimizer"]
    assert "'three'" in found["train.epochs"]
    assert "Received: 0." in found["train.batch_size"]
    assert "Did you mean 'sharing'?" in found["shraing"]
    assert len(found) == 11
    assert "has 11 mistakes" in complaint(table)


@pytest.mark.parametrize(
    ("tables", "place", "text"),
    [
        ({"task": []}, "task", "needs a task"),
        ({"task": [{"kind": "binary", "name": "click", "auxiliary": True}]}, "task", "served"),
        ({"task": [{"kind": "binary", "name": "click", "metrics": ["acu"]}]}, "task.click.metrics", "'auc'"),
        ({"task": {"kind": "binary"}}, "task", "[[task]]"),
        ({"task": [{"kind": "binary", "name": "a b"}]}, "task.a b", "'a b'"),
        ({"task": [{"kind": "binary"}]}, "task.0.name", "required"),
        ({"task": [{"name": "click"}]}, "task.click.kind", "required"),
        ({"task": [{"kind": "binary", "name": "a"}, {"kind": "binary", "name": "a"}]}, "task", "2 times"),
        (
            {"task": [{"kind": "binary", "name": "buy", "given": "clik"}, {"kind": "binary", "name": "click"}]},
            "task.buy.given",
            "'click'",
        ),
        ({"task": [{"kind": "count", "name": "n"}, {"kind": "binary", "name": "buy", "given": "n"}]}, "task.buy.given", "count"),
        (
            {"task": [{"kind": "binary", "name": "a", "reads": ["b"]}, {"kind": "binary", "name": "b", "reads": ["a"]}]},
            "task",
            "a",
        ),
        ({"data": {}}, "data.train", "neither"),
        ({"data": {"train": "a.csv", "generator": "feed"}}, "data.train", "one place"),
        ({"data": {"generator": "fed"}}, "data.generator.name", "'feed'"),
        ({"data": {"generator": {"name": "feed", "num_user": 3}}}, "data.generator.num_user", "'num_users'"),
        ({"data": {"train": "a.csv", "split": {"by": "group"}}}, "data.split.column", "needs a column"),
        ({"data": {"train": "a.csv", "split": {"fractions": [0.5, 0.2]}}}, "data.split.fractions", "sum to 1"),
        ({"data": {"train": "a.csv", "valid": "b.csv", "split": {}}}, "data.split", "not both"),
        ({"sharing": "mmoe"}, "sharing", "[sharing]"),
        ({"feature": [{"kind": "numeric", "name": "click"}]}, "feature.click", "no input"),
        ({"feature": [{"kind": "numeric", "name": "age", "bin": 3}]}, "feature.age.bin", "'bins'"),
        ({"train": {"main": "clik"}}, "train.main", "'click'"),
        ({"train": {"main": "click.acu"}}, "train.main", "'auc'"),
        ({"train": {"accumulate": 0}}, "train", "accumulate"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr", "'fast'"),
        ({"optimizer": {"lr": {"clik": 0.1}}}, "optimizer", "'click'"),
        ({"optimizer": {"name": "adam"}}, "optimizer", "'adamw'"),
        ({"schedule": {"kind": "cosin"}}, "schedule", "'cosine'"),
        ({"encoder": {"numeric": "picewise"}}, "encoder", "'piecewise'"),
        ({"sharing": {"activation": "rellu"}}, "sharing", "'relu'"),
        ({"balancer": {"name": "fixed", "weights": {"clik": 1.0, "buy": 1.0}}}, "balancer", "'click'"),
        ({"train": {"precision": "bf61"}}, "train.precision", "'bf16'"),
    ],
)
def test_one_mistake(tables, place, text):
    found = mistakes(run(**tables))
    assert text in found[place]
    assert len(found) == 1


def test_circle_of_sample_spaces_is_named():
    tasks = [{"kind": "binary", "name": name, "given": given} for name, given in (("a", "b"), ("b", "c"), ("c", "a"))]
    assert "a -> b -> c -> a" in mistakes(run(task=tasks))["task"]


def test_overrides_by_path_index_and_name():
    settings = [
        "train.epochs=7",
        "balancer.name=equal",
        "task.buy.weight=0.5",
        "task.0.metrics=['auc']",
        "optimizer.lr={buy = 0.01, shared = 0.1}",
    ]
    config = parse_config(RUN, settings=settings)
    assert config.plan.epochs == 7
    assert config.balancer.name == "equal"
    assert [task.weight for task in config.tasks] == [1.0, 0.5]
    assert config.tasks[0].metrics == ("auc",)
    assert dict(config.optimizer["lr"]) == {"buy": 0.01, "shared": 0.1}


@pytest.mark.parametrize(
    ("setting", "place", "text"),
    [
        ("train.epoch=3", "train.epoch", "'epochs'"),
        ("task.clik.weight=3", "task.clik", "'click'"),
        ("task.7.weight=3", "task.7", "'7'"),
        ("task.click=3", "task.click", "key by key"),
        ("train.epochs.x=3", "train.epochs.x", "Only tables"),
        ("train.epochs", "--set", "key=value"),
        ("train.epochs=[1,", "--set", "key=value"),
        ("train.epochs=many", "train.epochs", "'many'"),
    ],
)
def test_wrong_override(setting, place, text):
    assert text in mistakes(RUN, [setting])[place]


def test_an_override_of_the_name_drops_the_options_of_the_other_method():
    config = parse_config(RUN, settings=["sharing.name=shared_bottom"])
    assert "num_experts" not in config.sharing.options
    assert "sharing.num_experts" in config.notes[0]
    written = run(sharing={"name": "shared_bottom", "num_experts": 3})
    assert "num_experts" in mistakes(written)["sharing.num_experts"] or mistakes(written)


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "runs").mkdir()
    file = tmp_path / "runs" / "a.toml"
    file.write_text(tomli_w.dumps(RUN))
    assert read_config(file).data.train == str(tmp_path / "runs" / "train.parquet")
    assert parse_config(run(data={"train": "s3://bucket/x.parquet"})).data.train == "s3://bucket/x.parquet"


def test_what_is_written_back_reads_as_the_same_run():
    config = parse_config(RUN)
    again = parse_config(tomllib.loads(tomli_w.dumps(dict(config.resolved))))
    assert again.resolved == config.resolved
    assert again.digest() == config.digest()
    assert again.tasks == config.tasks


def test_the_digest_changes_with_what_is_computed_only():
    config = parse_config(RUN)
    for free in ("train.epochs=9", "train.device=cpu", "train.patience=3"):
        assert parse_config(RUN, settings=[free]).digest() == config.digest()
    for binding in (
        "train.batch_size=65",
        "train.seed=1",
        "sharing.num_experts=4",
        "task.buy.weight=2.0",
        "data.train=other.parquet",
    ):
        other = parse_config(RUN, settings=[binding])
        assert other.digest() != config.digest()
        place = binding.partition("=")[0]
        assert [line.partition(":")[0] for line in differences(config.resolved, other.resolved)] == [place]


def test_schema_for_editors_knows_every_key_and_refuses_others():
    schema = json_schema()
    json.dumps(schema)
    for place in places(parse_config(RUN).resolved):
        assert place[0].split(".")[0] in schema["properties"]
    branch = next(item for item in schema["properties"]["sharing"]["anyOf"] if item["properties"]["name"] == {"const": "mmoe"})
    assert branch["properties"]["num_experts"]["type"] == "integer"
    assert branch["properties"]["num_experts"]["description"]
    assert branch["additionalProperties"] is False
    assert {"epochs", "batch_size"} <= schema["properties"]["train"]["properties"].keys()


def test_unreadable_files(tmp_path):
    (tmp_path / "feed.toml").write_text("a = \nb = 1")
    with pytest.raises(ConfigError, match=r"must be TOML.*line 1"):
        read_config(tmp_path / "feed.toml")
    with pytest.raises(ConfigError, match=r"no such file.*feed\.toml"):
        read_config(tmp_path / "fed.toml")


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[1] / "examples" / "runs").glob("*.toml")), ids=lambda file: file.stem
)
def test_every_example_can_be_read(file):
    assert read_config(file).tasks
