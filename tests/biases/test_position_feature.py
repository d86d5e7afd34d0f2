import pytest
import torch

from biases.positions import features, model, position_id
from polytask.errors import ConfigError


def test_in_training_the_columns_are_inputs_and_outside_they_are_as_declared():
    found = model(name="position_feature", served={"position": 3, "device": "desktop"}, dropout=0.0)
    shown = features()
    declared = shown._replace(categorical=shown.categorical.clone())
    declared.categorical[:, 1], declared.categorical[:, 2] = position_id(3), 4
    assert torch.equal(found.train().bias.inputs(shown).categorical, shown.categorical)
    assert torch.equal(found.eval()(shown).by_task["click"], found.train()(declared).by_task["click"])


def test_what_is_not_declared_is_missing_and_dropped_rows_teach_it():
    bias = model(name="position_feature", served={"position": 2}, dropout=0.4).bias
    shown = features(20_000)
    served = bias.eval().inputs(shown).categorical
    assert set(served[:, 1].tolist()) == {position_id(2)}
    assert not served[:, 2].any()
    assert torch.equal(served[:, [0, 3]], shown.categorical[:, [0, 3]])
    torch.manual_seed(2)
    read = bias.train().inputs(shown).categorical
    dropped = read[:, 1] == 0
    assert float(dropped.float().mean()) == pytest.approx(0.4, abs=0.015)
    assert torch.equal(dropped, read[:, 2] == 0)
    assert torch.equal(read[~dropped], shown.categorical[~dropped])


def test_a_known_column_is_never_replaced():
    bias = model(name="position_feature", known=["device"], dropout=0.5).bias
    shown = features()
    for mode in (True, False):
        assert torch.equal(bias.train(mode).inputs(shown).categorical[:, 2], shown.categorical[:, 2])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"served": {"position": 7}}, "Valid: '1', '2', '3'"),
        ({"served": {"item": "a"}}, "hidden columns"),
        ({"dropout": 1.0}, "drop-out"),
    ],
)
def test_what_cannot_be_is_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        model(name="position_feature", **options)
