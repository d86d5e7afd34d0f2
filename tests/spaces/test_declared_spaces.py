"""`[space]` in a declared run: bound, written back, refused with its place; a joint prediction may choose the weights."""

import pytest

from polytask.config import json_schema, parse_config
from polytask.errors import ConfigError
from polytask.spaces import SPACES, EntireSpace
from polytask.tasks import Binary
from polytask.train._judge import Judge

RUN = {
    "data": {"train": "train.parquet"},
    "task": [{"kind": "binary", "name": "click"}, {"kind": "binary", "name": "buy", "given": "click"}],
}


def test_the_default_and_what_is_written_back():
    assert parse_config(RUN).resolved["space"] == {"name": "clicked"}
    config = parse_config({**RUN, "space": {"name": "dr", "clip": 0.1}})
    assert config.resolved["space"] == {"name": "dr", "clip": 0.1, "joint_weight": 0.0}
    assert parse_config(config.resolved).space == config.space
    assert parse_config(RUN).digest() != config.digest()
    assert len(json_schema()["properties"]["space"]["anyOf"]) == len(SPACES)


def test_heads_of_a_space_are_tasks_for_balancers_and_sharings():
    weights = {"click": 1.0, "buy": 1.0, "buy_imputed": 0.5}
    balancer = {"name": "fixed", "weights": weights}
    assert parse_config({**RUN, "space": {"name": "dr"}, "balancer": balancer}).balancer.options["weights"] == weights
    with pytest.raises(ConfigError, match="balancer"):
        parse_config({**RUN, "balancer": balancer})


@pytest.mark.parametrize(
    ("space", "parts"),
    [
        ({"name": "drr"}, ["space.name", "'dr'"]),
        ({"name": "dr", "clipp": 0.1}, ["space.clipp", "'clip'"]),
        ({"name": "dr", "clip": 0.0}, ["space: ", "`clip`"]),
        ({"name": "entire_space_paths"}, ["space.actions"]),
        ({"name": "entire_space_paths", "actions": {"buy": ["kart"]}}, ["space: ", "'kart'"]),
    ],
)
def test_mistakes_have_their_place(space, parts):
    with pytest.raises(ConfigError) as error:
        parse_config({**RUN, "space": space})
    assert not [part for part in parts if part not in str(error.value)], str(error.value)


def test_a_joint_prediction_chooses_the_weights_only_where_it_is_named():
    tasks = [Binary("click"), Binary("buy", given="click")]
    judged = [*tasks, *EntireSpace(tasks).joints()]
    metrics = {"click": {"auc": 0.6}, "buy": {"auc": 0.7}, "click_and_buy": {"auc": 0.8, "log_loss": 0.1}}
    assert Judge(judged, main="click_and_buy").score(metrics) == 0.8
    assert Judge(judged, main="click_and_buy.log_loss").score(metrics) == -0.1
    better = metrics | {"click_and_buy": {"auc": 0.99}}
    assert Judge(judged).score(metrics) == Judge(judged).score(better)
    assert parse_config({**RUN, "train": {"main": "click_and_buy.auc"}}).plan.main == "click_and_buy.auc"
    with pytest.raises(ConfigError, match="click_and_buy"):
        parse_config({**RUN, "train": {"main": "click_and_bye"}})
