import json

import pytest

from polytask.errors import ConfigError
from polytask.fusion import FUSIONS, Fusion, MonotoneProduct, WeightedSum, fusion_from_json

GOOD = {"format": "polytask fusion", "version": 1, "name": "weighted_product", "weights": {"click": 1, "buy": 2.5}}


def test_what_a_person_writes(tmp_path):
    path = tmp_path / "fusion.json"
    path.write_text(json.dumps(GOOD))
    fusion = Fusion.from_json(path)
    assert fusion == FUSIONS["weighted_product"]({"click": 1.0, "buy": 2.5})
    path.write_text(json.dumps({**GOOD, "options": {"epsilon": 1}}))
    assert Fusion.from_json(path).epsilon == 1.0


def test_the_file_says_what_it_is(tmp_path):
    WeightedSum({"click": 0.5}).to_json(tmp_path / "fusion.json")
    assert json.loads((tmp_path / "fusion.json").read_text()) == {
        "format": "polytask fusion",
        "version": 1,
        "name": "weighted_sum",
        "weights": {"click": 0.5},
    }


def test_every_mistake_with_file_and_key(tmp_path):
    path = tmp_path / "wrong.json"
    wrong = {
        "format": "other",
        "version": 2,
        "name": "weighted_product",
        "weights": {"click": "1", "buy": True, "like": None},
        "options": {"epsilon": -1, "epsilom": 1},
        "weigths": {},
    }
    path.write_text(json.dumps(wrong))
    with pytest.raises(ConfigError) as error:
        Fusion.from_json(path)
    text = str(error.value)
    assert text.startswith(f"{path} has 8 mistakes:")
    keys = ["weigths", "format", "version", "options.epsilom", "options.epsilon", "weights.click", "weights.buy", "weights.like"]
    assert all(f"\n  {key}: " in text for key in keys)
    assert "Did you mean 'weights'?" in text
    assert "Did you mean 'epsilon'?" in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"name": "weighted_prodct"},
            "name: There is no such fusion. Received: 'weighted_prodct'. Did you mean 'weighted_product'",
        ),
        ({"name": ["weighted_sum"]}, "name: There is no such fusion"),
        ({"weights": None}, "weights: Weights are numbers by the name"),
        ({"weights": {}}, "weights: Weights are numbers by the name"),
        ({"weights": {"click": 0}}, "weights: A weight must differ from 0"),
        ({"options": 3}, "options: Options are values by name"),
        ({"name": "monotone_sum", "weights": {"click": -1}}, "weights.click: A monotone weight"),
        (
            {"name": "monotone_sum", "options": {"curves": {"click": {"at": [0, 1]}}}},
            "options.curves.click: A curve has the keys",
        ),
        (
            {"name": "monotone_sum", "options": {"curves": {"click": {"at": [0, 1], "to": [1, 0]}}}},
            "options.curves.click: Values must",
        ),
        (
            {"name": "monotone_sum", "options": {"curves": {"click": {"at": [0, "1"], "to": [0, 1]}}}},
            "options.curves.click: Knots and",
        ),
        ({"name": "one_plus_product", "options": {"scale": {"click": 1}}}, "options.scale.buy: Each weighted prediction"),
    ],
)
def test_one_mistake(change, text):
    with pytest.raises(ConfigError, match="has 1 mistake:") as error:
        fusion_from_json({**GOOD, **change}, place="fusion.json")
    assert text in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r"none.json must be a file of weights. Received: No such file"):
        Fusion.from_json(tmp_path / "none.json")
    path = tmp_path / "fusion.json"
    for content, text in (
        ('{"weights": {"a": 1, "a": 2}}', "key 'a' twice"),
        ("{", "must be JSON"),
        ("[]", "must hold an object"),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=text):
            Fusion.from_json(path)
    path.write_text(json.dumps(GOOD).replace("2.5", "NaN"))
    with pytest.raises(ConfigError, match=r"weights.buy: A weight is a finite number. Received: nan"):
        Fusion.from_json(path)


def test_curves_survive_the_file(tmp_path):
    fusion = MonotoneProduct({"click": 1.0}, curves={"click": {"at": [0.0, 0.1, 1.0], "to": [0.0, 0.30000000000000004, 0.5]}})
    fusion.to_json(tmp_path / "fusion.json")
    assert Fusion.from_json(tmp_path / "fusion.json").curves == fusion.curves
