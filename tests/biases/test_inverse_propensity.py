import numpy as np
import pytest
import torch

from biases.positions import COLUMNS, batch, features, model, position_id
from polytask.batch import Batch, Labels
from polytask.biases import Counts, InversePropensity, fit_position_model
from polytask.errors import ConfigError, DataError, PolytaskError
from polytask.model import MultiTaskModel
from polytask.tasks import Binary

TABLE = [1.0, 0.5, 0.2]


def inverse(**options):
    declared = {} if {"random", "same"} & set(options) else {"examination": TABLE}
    return model(name="inverse_propensity", **declared | options)


def rows_of(click, cells):
    """Rows at given positions, with the clicks."""
    shown = features(len(click))
    shown.categorical[:, 1] = torch.tensor([position_id(value) for value in cells])
    return Batch(shown, {"click": Labels.of(torch.tensor(click))})


def test_clicks_count_by_their_position_and_keep_their_sum():
    rows = rows_of([1.0, 0.0, 1.0, 1.0, 0.0], [1, 2, 2, 3, 3])
    bias = inverse(clip=0.4).train().bias
    corrected = bias.correct({"click": torch.zeros(5, 1)}, rows.features, torch.zeros(1, 5, 8))
    assert corrected.weights.tolist() == pytest.approx([1.0, 2.0, 2.0, 2.5, 2.5])
    labels = bias.labels(rows.labels["click"], corrected.weights)
    assert labels.value.tolist() == pytest.approx([3 / 5.5, 0, 6 / 5.5, 7.5 / 5.5, 0])
    assert float(labels.value.sum()) == pytest.approx(3.0)


def test_the_loss_by_hand():
    found, rows = inverse().train(), rows_of([1.0, 0.0, 1.0], [1, 3, 2])
    outputs = found(rows.features)
    logit = outputs.by_task["click"].detach().flatten().double()
    value = torch.tensor([2 / 3, 0, 4 / 3]).double()
    expected = torch.mean(-value * torch.log(logit.sigmoid()) - (1 - value) * torch.log((-logit).sigmoid()))
    assert float(found.losses(outputs, rows.labels)["click"].detach()) == pytest.approx(float(expected), rel=1e-5)


def test_rows_without_label_and_row_weights_count_in_the_sum_as_in_the_loss():
    weights = torch.tensor([1.0, 2.0, 5.0, 5.0])
    labels = Labels(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([True, True, False, True]), 3, torch.tensor([1.0, 3, 9, 1]))
    found = inverse().bias.labels(labels, weights).value
    assert float((found * labels.observed * labels.weight).sum()) == pytest.approx(4.0)
    assert float(found[1] / found[0]) == pytest.approx(2.0)


def test_a_batch_without_clicks_stays_as_it_is():
    rows = rows_of([0.0, 0.0], [1, 3])
    found = inverse().train()
    assert found.bias.labels(rows.labels["click"], torch.tensor([1.0, 5.0])).value.tolist() == [0.0, 0.0]
    assert torch.isfinite(found.losses(found(rows.features), rows.labels)["click"])


def test_expected_over_looks_it_is_the_loss_on_relevance():
    """The gradient of each row, averaged over clicks = looks x relevance, is that of the relevance, up to the common factor."""
    rng = np.random.default_rng(0)
    relevance, cells, total = np.array([0.7, 0.2, 0.4]), [3, 1, 2], 80_000
    looked = rng.random((total, 3)) < np.array([0.2, 1.0, 0.5])
    click = torch.tensor((looked & (rng.random((total, 3)) < relevance)).astype(np.float32)).flatten()
    rows = rows_of(click.tolist(), cells * total)
    bias = inverse().train().bias
    weights = bias.correct({}, rows.features, torch.zeros(1, 1, 1)).weights
    labels = bias.labels(rows.labels["click"], weights).value.view(total, 3).mean(0)
    assert (labels / labels.sum()).tolist() == pytest.approx((relevance / relevance.sum()).tolist(), abs=0.01)


def test_a_declared_table_is_by_rising_position_and_by_device():
    bias = inverse(examination={"desktop": [1.0, 0.9, 0.8], "phone": TABLE}).bias
    found = {(line["position"], line["device"]): line["examination"] for line in bias.curve()}
    assert found[3, "phone"] == pytest.approx(0.2)
    assert found[3, "desktop"] == pytest.approx(0.8)
    assert found[2, "phone"] == pytest.approx(0.5)


def logged(rows=60_000, seed=4):
    """Positions go with items, so click rates by position are no examination; random rows are a fifth."""
    rng = np.random.default_rng(seed)
    shown = features(rows, seed)
    relevance = np.array([0.0, 0.0, 0.0, 0.7, 0.2, 0.5, 0.35])
    random = rng.random(rows) < 0.3
    item = shown.categorical[:, 0].numpy()
    wanted = np.where(
        random, rng.integers(1, 4, rows), np.clip(np.round(4 - 4.5 * relevance[item] + rng.normal(0, 0.8, rows)), 1, 3)
    )
    shown.categorical[:, 1] = torch.tensor([position_id(int(value)) for value in wanted])
    shown.categorical[:, 3] = torch.tensor(np.where(random, 4, 3))
    click = rng.random(rows) < np.array(TABLE)[wanted.astype(int) - 1] * relevance[item]
    return Batch(shown, {"click": Labels.of(torch.tensor(click.astype(np.float32)))})


@pytest.mark.parametrize("how", [{"same": ["item"]}, {"random": "random"}])
def test_examination_is_estimated_before_training(how):
    found, rows = inverse(columns=["position"], **how), logged()
    with pytest.raises(PolytaskError, match="before training"):
        found.train()(rows.features)
    parts = [
        Batch(
            rows.features._replace(categorical=rows.features.categorical[part], numeric=rows.features.numeric[part]),
            {"click": Labels.of(rows.labels["click"].value[part])},
        )
        for part in (slice(0, 7_000), slice(7_000, None))
    ]
    found.bias.fit(parts)
    curve = {line["position"]: line["examination"] for line in found.bias.curve()}
    assert [curve[value] for value in (1, 2, 3)] == pytest.approx(TABLE, rel=0.08)
    other = inverse(columns=["position"], **how)
    other.load_state_dict(found.state_dict())
    assert other.bias.curve() == found.bias.curve()
    other.train()(rows.features)


def test_estimates_are_those_of_the_functions():
    found, rows = inverse(columns=["position"], same=["item", "device"]), logged(3_000)
    found.bias.fit([rows])
    ids = rows.features.categorical.numpy()
    counts = Counts.of(ids[:, 1] - 3, ids[:, 0].astype(int) * 10 + ids[:, 2], rows.labels["click"].value.numpy())
    rate = fit_position_model(counts).examination  # ids of positions 2, 1, 3
    curve = [line["examination"] for line in found.bias.curve()]
    assert curve == pytest.approx([1.0, rate[0] / rate[1], rate[2] / rate[1]], rel=1e-3)


def test_the_column_of_random_rows_is_hidden_and_those_of_one_relevance_are_not():
    bias = inverse(random="random").bias
    assert bias.hidden == ("position", "device", "random")
    assert [field.name for field in bias.visible(COLUMNS).categorical] == ["item"]
    assert inverse(same=["item"]).bias.hidden == ("position", "device")


def test_estimation_needs_clicks():
    found = inverse(random="random")
    rows = logged(200)
    rows.features.categorical[:, 3] = 3
    with pytest.raises(DataError, match="Is 'random' 1"):
        found.bias.fit([rows])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"examination": None}, "exactly one"),
        ({"examination": TABLE, "same": ["item"]}, "exactly one"),
        ({"examination": [1.0, 0.5]}, "each of the 3 positions"),
        ({"examination": [1.0, 0.5, 0.0]}, "in \\(0, 1\\]"),
        ({"examination": {"phone": TABLE}}, "each of the 3 positions"),
        ({"examination": TABLE, "clip": 0.0}, "clip"),
        ({"same": ["itm"], "examination": None}, "Did you mean 'item'"),
    ],
)
def test_what_cannot_be_is_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        InversePropensity(COLUMNS, columns=["position", "device"], tasks=["click"], **options)


def test_a_space_that_reads_clicks_off_labels_is_refused():
    tasks = (Binary("click"), Binary("buy", given="click"))
    bias = {"name": "inverse_propensity", "columns": ["position"], "tasks": ["click"], "examination": TABLE}
    with pytest.raises(ConfigError, match="'clicked'"):
        MultiTaskModel.build(COLUMNS, tasks, bias=bias, space="entire_space")
    assert MultiTaskModel.build(COLUMNS, tasks, bias=bias, space="clicked").bias
    assert MultiTaskModel.build(COLUMNS, tasks, bias=bias | {"tasks": ["buy"]}, space="entire_space").bias


def test_unnamed_tasks_keep_their_labels():
    found, rows = inverse().train(), batch()
    outputs = found(rows.features)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(outputs.by_task["buy"].flatten(), rows.labels["buy"].value)
    assert float(found.losses(outputs, rows.labels)["buy"].detach()) == pytest.approx(float(plain.detach()), rel=1e-6)
