"""What every remedy for a bias promises."""

import pytest
import torch

from biases.positions import COLUMNS, TASKS, batch, elsewhere, features, model
from polytask.balancers import Equal
from polytask.biases import BIASES
from polytask.data import Preprocessing
from polytask.errors import ConfigError
from polytask.model import MultiTaskModel, describe_model
from polytask.optimizers import build_optimizer
from polytask.train import train_step

OPTIONS = {
    "shallow_tower": {},
    "inverse_propensity": {"examination": [1.0, 0.5, 0.25]},
    "position_feature": {},
    "position_adversary": {},
}


@pytest.fixture(params=BIASES)
def name(request):
    return request.param


def built(name, **options):
    return model(name=name, **OPTIONS[name], **options)


def trained(model, steps=5):
    balancer = Equal([task.name for task in TASKS])
    optimizer = build_optimizer(model, balancer, lr=0.01)
    for step in range(steps):
        train_step(model.train(), balancer, optimizer, batch(seed=step))
    return model


def test_every_member_is_tried():
    assert set(OPTIONS) == set(BIASES)


def test_outside_training_no_output_depends_on_the_columns(name):
    found = trained(built(name)).eval()
    ours, other = found(features()).by_task, found(elsewhere(features())).by_task
    assert all(torch.equal(ours[task], other[task]) for task in ours)
    assert ours["click"].std() > 0


def test_the_encoder_has_none_of_the_columns_but_where_they_are_features(name):
    names = [field.name for field in built(name).bias.visible(COLUMNS).categorical]
    hidden = [] if name == "position_feature" else ["position", "device"]
    assert names == [field.name for field in COLUMNS.categorical if field.name not in hidden]
    fields = 5 if name == "position_feature" else 3
    assert built(name).encoders[0].out_features == 16 * fields + (-16 * fields % 8)


def test_what_the_encoder_reads_does_not_depend_on_hidden_columns(name):
    if name == "position_feature":
        return
    bias = built(name).train().bias
    shown = features()
    other = elsewhere(shown).categorical
    other[:, 3] = shown.categorical[:, 3]
    assert torch.equal(bias.inputs(shown).categorical, shown.categorical[:, [0, 3]])
    assert torch.equal(bias.inputs(shown._replace(categorical=other)).categorical, shown.categorical[:, [0, 3]])


def test_a_known_column_is_read_by_the_encoder_too(name):
    found = built(name, known=["device"])
    assert "device" in [field.name for field in found.bias.visible(COLUMNS).categorical]
    assert found.bias.hidden == ("position",)
    shown = features()
    other = shown.categorical.clone()
    other[:, 2] = torch.where(other[:, 2] == 3, 4, 3)
    ours, others = (found.eval()(rows).by_task["click"] for rows in (shown, shown._replace(categorical=other)))
    assert not torch.equal(ours, others)


def test_tasks_that_are_not_named_do_not_learn_of_it(name):
    if name in ("position_feature", "position_adversary"):  # these act on what all tasks read
        return
    found = built(name).train()
    rows = batch()
    outputs = found(rows.features)
    other = found(elsewhere(rows.features)) if name == "shallow_tower" else outputs
    for task in ("buy", "watch"):
        assert torch.equal(outputs.by_task[task], other.by_task[task])
    plain = model(name="shallow_tower", dropout=0.0).train()
    losses, without = found.losses(outputs, rows.labels), plain.losses(plain(rows.features), rows.labels)
    assert all(torch.equal(losses[task], without[task]) for task in ("buy", "watch"))


def test_weights_of_the_rest_are_drawn_as_without_the_remedy(name):
    if name == "position_feature":
        return
    ours, plain = built(name), model(name="shallow_tower")
    for part in ("encoders", "sharing", "heads"):
        for (key, value), other in zip(
            getattr(ours, part).state_dict().items(), getattr(plain, part).state_dict().values(), strict=True
        ):
            assert torch.equal(value, other), key


def test_it_comes_back_from_its_state(name):
    ours, other = trained(built(name)), built(name, seed=4)
    other.load_state_dict(ours.state_dict())
    assert torch.equal(ours.eval()(features()).by_task["click"], other.eval()(features()).by_task["click"])
    assert ours.bias.curve() == other.bias.curve()


def test_it_has_a_line_in_the_description(name):
    parts = {part.name: part for part in describe_model(built(name), features())}
    own = sum(parameter.numel() for parameter in built(name).bias.parameters())
    assert parts["bias"].parameters == own
    assert parts["model"].parameters == sum(parts[part].parameters for part in ("encoder", "sharing", "heads", "bias"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"columns": []}, "position first"),
        ({"columns": ["position", "position"]}, "each once"),
        ({"columns": ["positio"]}, "Did you mean 'position'"),
        ({"columns": ["x"]}, "categorical"),
        ({"tasks": []}, "needs tasks"),
        ({"tasks": ["clik"]}, "Did you mean 'click'"),
        ({"tasks": ["watch"]}, "binary"),
        ({"known": ["position"]}, "other than the position"),
        ({"known": ["item"]}, "known"),
        ({"colums": ["position"]}, "'columns'"),
    ],
)
def test_what_cannot_be_is_refused(name, options, text):
    with pytest.raises(ConfigError, match=text):
        model(**{"name": name, "columns": ["position", "device"], "tasks": ["click"], **OPTIONS[name], **options})


def test_an_unknown_bias_is_refused():
    with pytest.raises(ConfigError, match="shallow_tower"):
        MultiTaskModel.build(COLUMNS, TASKS, bias={"name": "shalow_tower", "columns": ["position"], "tasks": ["click"]})


def test_lines_go_through_positions_by_value_and_devices_one_by_one():
    bias = built("shallow_tower").bias
    lines = bias.lines()
    assert [(about["position"], about["device"]) for _, _, about in lines] == [
        (position, device) for device in ("desktop", "phone") for position in (1, 2, 3)
    ]
    shown = features(1)
    for cell, first, about in lines:
        ids = torch.tensor([[3, 3 + (2, 1, 3).index(about["position"]), 3 + ("phone", "desktop").index(about["device"]), 3]])
        assert bias.cells(shown._replace(categorical=ids)).tolist() == [cell]
        assert bias.cells(shown._replace(categorical=torch.where(torch.tensor([0, 1, 0, 0]) == 1, 4, ids))).tolist() == [first]


def test_hashed_positions_stand_for_their_bucket():
    from polytask.data import CategoricalField
    from polytask.data.vocabulary import Vocabulary

    columns = Preprocessing((CategoricalField("position", Vocabulary("integer", buckets=2)),), (), (), ())
    bias = BIASES["shallow_tower"](columns, columns=["position"], tasks=["click"])
    assert [about for _, _, about in bias.lines()] == [{"position": 1}, {"position": 2}]
