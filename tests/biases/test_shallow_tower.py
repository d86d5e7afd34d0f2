import math

import pytest
import torch
from scipy.optimize import brentq

from biases.positions import batch, elsewhere, features, model, position_id
from polytask.balancers import BALANCERS, Equal
from polytask.batch import Labels
from polytask.biases import Seen, logit_of_product
from polytask.errors import ConfigError
from polytask.optimizers import build_optimizer
from polytask.train import train_step


def tower(link="logit", dropout=0.0, **options):
    found = model(name="shallow_tower", link=link, dropout=dropout, **options)
    own = found.bias.towers.of("click")
    with torch.no_grad():
        own.main[0].copy_(torch.tensor([0.03, 0.0, 0.0, 0.02, 0.11, -0.05]))  # missing, unknown, rare, 2, 1, 3
        own.main[1].copy_(torch.tensor([0.01, 0.0, 0.0, 0.04, -0.02]))
        own.cell.view(6, 5)[4, 4] = 0.07  # position 1 on a desktop
    return found


def test_in_training_the_logit_of_the_row_is_added():
    found, shown = tower(), features()
    plain = found.heads(found.sharing(found.encoders[0](found.bias.inputs(shown))).outputs)["click"]
    main, device = torch.tensor([0.02, 0.11, -0.05]), torch.tensor([0.04, -0.02])
    position, kind = shown.categorical[:, 1].long() - 3, shown.categorical[:, 2].long() - 3
    expected = 10 * (main[position] + device[kind] + torch.where((position == 1) & (kind == 1), 0.07, 0.0))
    added = (found.train()(shown).by_task["click"] - plain).squeeze(1)
    torch.testing.assert_close(added, expected, atol=1e-6, rtol=1e-5)
    assert not torch.equal(found(shown).by_task["click"], found(elsewhere(shown)).by_task["click"])


@pytest.mark.parametrize("link", ["logit", "product"])
def test_what_is_served_is_what_was_learnt_for_missing_columns(link):
    found, shown = tower(link), features()
    missing = shown._replace(categorical=shown.categorical.clone())
    missing.categorical[:, 1:3] = 0
    torch.testing.assert_close(found.eval()(shown).by_task["click"], found.train()(missing).by_task["click"])
    served = found.eval()(shown).by_task["click"]
    own = found.heads(found.sharing(found.encoders[0](found.bias.inputs(shown))).outputs)["click"]
    if link == "logit":
        torch.testing.assert_close(served - own, torch.full_like(own, 0.4))
    else:
        torch.testing.assert_close(served.sigmoid() / own.sigmoid(), torch.full_like(own, 1 / (1 + math.exp(-0.4))))


def test_the_asked_share_of_rows_is_dropped_and_position_and_device_with_them():
    found = tower(dropout=0.3).train()
    shown = features(20_000)
    torch.manual_seed(1)
    first, again = found(shown).by_task["click"], found(shown).by_task["click"]
    torch.manual_seed(1)
    assert torch.equal(first, found(shown).by_task["click"])
    assert not torch.equal(first, again)
    own = found.heads(found.sharing(found.encoders[0](found.bias.inputs(shown))).outputs)["click"]
    dropped = ((first - own - 0.4).abs() < 1e-5).float().mean()
    assert dropped == pytest.approx(0.3, abs=0.015)


def test_dropped_rows_teach_what_missing_is_worth_and_not_the_model():
    found = tower(dropout=1 - 1e-9).train()
    rows = batch()
    found.losses(found(rows.features), rows.labels)["click"].backward()
    own = found.bias.towers.of("click")
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in found.heads.heads.of("click").parameters())
    assert own.main[0].grad[0] != 0
    assert not own.main[0].grad[1:].any()


@pytest.mark.parametrize("link", ["logit", "product"])
def test_gradients_of_the_tower(link):
    """d loss / d b is the mean of (p - y), with the link "product" times (1 - e) / (1 - p), over the rows of the cell."""
    found, rows = tower(link), batch()
    outputs = found.train()(rows.features).by_task["click"]
    found.losses(found(rows.features), rows.labels)["click"].backward()
    own, label = found.bias.towers.of("click"), rows.labels["click"].value
    p = outputs.sigmoid().squeeze(1)
    bias = own.table().flatten()[found.bias.cells(rows.features)]
    slope = (p - label) * (1 if link == "logit" else (1 - bias.sigmoid()) / (1 - p))
    for value in (1, 2, 3):
        at = rows.features.categorical[:, 1] == position_id(value)
        expected = 10 * float(slope[at].sum().detach()) / len(p)
        assert float(own.main[0].grad[position_id(value)]) == pytest.approx(expected, rel=1e-4)
    assert not own.main[0].grad[:3].any()


@pytest.mark.parametrize("name", ["upgrad", "graddrop", "imtl_g"])
def test_the_tower_learns_from_its_own_loss_whoever_balances(name):
    found, rows = tower("product"), batch()
    optimizer = torch.optim.SGD(found.parameters(), lr=0.0)
    expected = []
    for balancer in (Equal(["buy", "click", "watch"]), BALANCERS[name](["buy", "click", "watch"])):
        train_step(found.train(), balancer, optimizer, rows)
        expected.append([parameter.grad.clone() for parameter in found.bias.parameters()])
    for plain, balanced in zip(*expected, strict=True):
        assert plain.any()
        torch.testing.assert_close(balanced, plain)


def test_a_batch_without_labels_of_its_task_leaves_the_tower_as_it_was():
    found, rows = tower(), batch()
    nothing = Labels.of(torch.full((40,), torch.nan))
    balancer = Equal(["buy", "click", "watch"])
    optimizer = build_optimizer(found, balancer, lr=0.1)
    train_step(found.train(), balancer, optimizer, rows)
    before = [parameter.detach().clone() for parameter in found.bias.parameters()]
    train_step(found, balancer, optimizer, rows._replace(labels={**rows.labels, "click": nothing}))
    assert all(torch.equal(value, parameter) for value, parameter in zip(before, found.bias.parameters(), strict=True))
    train_step(found, balancer, optimizer, rows)
    assert not torch.equal(before[0], next(found.bias.parameters()))


def test_a_product_of_probabilities_holds_where_single_precision_would_not():
    a, b = torch.tensor([0.3, -90.0, 40.0, 60.0]), torch.tensor([-1.2, 50.0, 2.0, 70.0])
    found = logit_of_product(a, b).double()
    da, db = a.double(), b.double()
    log_p = torch.nn.functional.logsigmoid(da) + torch.nn.functional.logsigmoid(db)
    assert found[:3].tolist() == pytest.approx((log_p - torch.log(-torch.expm1(log_p)))[:3].tolist(), rel=1e-5)
    assert float(found[3]) == pytest.approx(60.0, rel=1e-5)
    x = torch.tensor([100.0, -100.0], requires_grad=True)
    logit_of_product(x, torch.zeros(2)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_the_curve_is_relative_to_the_first_position_of_the_same_device():
    lines = tower().bias.curve()
    found = {(line["position"], line["device"]): (line["logit"], line["examination"]) for line in lines}
    assert found[1, "phone"] == (0.0, 1.0)
    assert found[1, "desktop"] == (0.0, 1.0)
    assert found[3, "phone"] == pytest.approx((-1.6, math.exp(-1.6)), rel=1e-5)
    assert found[2, "desktop"] == pytest.approx((-1.6, math.exp(-1.6)), rel=1e-5)  # (.02 - .11 - .07) * 10
    assert all(line["task"] == "click" for line in lines)


@pytest.mark.parametrize("link", ["logit", "product"])
def test_the_refined_curve_expects_the_clicks_that_came(link):
    found, rows = tower(link), batch(2_000)
    seen = Seen(rows.features, found.eval()(rows.features).by_task, rows.labels)
    lines = {(line["position"], line["device"]): line for line in found.bias.curve(seen)}
    own = (
        found.heads(found.sharing(found.encoders[0](found.bias.inputs(rows.features))).outputs)["click"]
        .detach()
        .double()
        .flatten()
    )
    label = rows.labels["click"].value
    position, device = rows.features.categorical[:, 1], rows.features.categorical[:, 2]
    fit = {}
    for value in (1, 3):
        at = (position == position_id(value)) & (device == 4)
        if link == "product":
            fit[value] = float(label[at].sum() / own[at].sigmoid().sum())
        else:
            bias = brentq(lambda b, at=at: float((own[at] + b).sigmoid().mean() - label[at].double().mean()), -9, 9)
            fit[value] = float((own + bias).sigmoid().mean())
    assert lines[3, "desktop"]["examination"] == pytest.approx(fit[3] / fit[1], rel=1e-4)
    assert lines[1, "desktop"]["examination"] == 1


def test_the_curve_of_a_product_is_the_ratio_of_examinations():
    lines = {(line["position"], line["device"]): line["examination"] for line in tower("product").bias.curve()}
    sigma = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    assert lines[3, "desktop"] == pytest.approx(sigma(-0.7) / sigma(1.6), rel=1e-5)


def test_each_named_task_has_a_tower_of_its_own_by_name():
    found = model(name="shallow_tower", tasks=["click", "buy"])
    keys = [key for key in found.state_dict() if key.startswith("bias.")]
    assert {key.split(".")[2] for key in keys} == {"task_click", "task_buy"}
    other = model(name="shallow_tower", tasks=["buy", "click"])
    with torch.no_grad():
        found.bias.towers.of("buy").main[0][4] = 1.0
    other.load_state_dict(found.state_dict())
    assert other.bias.logits("buy")[4, 0].item() == 10.0
    assert other.bias.logits("click")[4, 0].item() == 0.0


def test_one_column_has_no_cells_of_its_own():
    own = model(name="shallow_tower", columns=["position"]).bias.towers.of("click")
    assert own.cell is None
    assert own.table().shape == (6,)


@pytest.mark.parametrize(
    ("options", "text"), [({"dropout": 1.0}, "drop-out"), ({"dropout": -0.1}, "drop-out"), ({"link": "logti"}, "'logit'")]
)
def test_what_cannot_be_is_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        model(name="shallow_tower", **options)
