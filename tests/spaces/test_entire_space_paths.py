"""Two ways from a click to a purchase: the mixture, its digits, the labels of actions, which head learns from what."""

import math

import pytest
import torch

from impressions import NAN, labels_of, outputs_of, sigmoid
from polytask.errors import ConfigError
from polytask.spaces import EntireSpacePaths
from polytask.tasks import Binary, Regression

ONE = [Binary("click"), Binary("cart", given="click"), Binary("buy", given="click")]
TWO = [*ONE[:2], Binary("wish", given="click"), ONE[2]]


def bernoulli(p, label):
    return -math.log(p if label else 1 - p)


def test_one_action_by_hand():
    space = EntireSpacePaths(ONE, actions={"buy": ["cart"]})
    assert [task.name for task in space.tasks] == ["click", "cart", "buy", "buy_otherwise"]
    outputs = outputs_of(click=[0.5, -1.0, 0.3], cart=[0.2, 0.7, -0.4], buy=[1.0, -0.3, 0.8], buy_otherwise=[-2.0, 0.1, -1.0])
    labels = labels_of(click=[1, 0, 1], cart=[0, NAN, NAN], buy=[1, NAN, 0])
    found = space.losses(outputs, labels)
    p = [[sigmoid(outputs[name][row].item()) for name in ("click", "cart", "buy", "buy_otherwise")] for row in range(3)]
    buy = [y1 * (y2 * y3 + (1 - y2) * y4) for y1, y2, y3, y4 in p]
    assert found["click"].item() == pytest.approx(sum(bernoulli(p[row][0], y) for row, y in enumerate([1, 0, 1])) / 3, rel=1e-5)
    assert found["cart"].item() == pytest.approx(
        (bernoulli(p[0][0] * p[0][1], 0) + bernoulli(p[1][0] * p[1][1], 0)) / 2, rel=1e-5
    )
    # row 2 has no label of cart, and counts for buy with its estimate
    assert found["buy"].item() == pytest.approx(sum(bernoulli(buy[row], y) for row, y in enumerate([1, 0, 0])) / 3, rel=1e-5)
    assert list(found) == ["click", "cart", "buy"]
    predicted = space.predict(outputs)
    assert predicted["buy"].tolist() == pytest.approx([b / row[0] for b, row in zip(buy, p, strict=True)], rel=1e-5)
    assert predicted["click_and_buy"].tolist() == pytest.approx(buy, rel=1e-5)
    assert list(predicted) == ["click", "cart", "click_and_cart", "buy", "click_and_buy"]


def test_several_actions_have_a_head_and_a_label_of_their_own():
    space = EntireSpacePaths(TWO, actions={"buy": ["cart", "wish"]})
    assert [task.name for task in space.tasks[4:]] == ["buy_action", "buy_otherwise"]
    rows = {"click": [0.5] * 6, "cart": [9.0] * 6, "wish": [9.0] * 6, "buy": [0.3] * 6, "buy_otherwise": [0.1] * 6}
    outputs = outputs_of(**rows, buy_action=[0.2, 0.7, -0.4, 1.0, 0.6, -0.8])
    labels = labels_of(
        click=[1, 1, 1, 1, 0, 1],
        cart=[1, 0, 0, NAN, NAN, NAN],
        wish=[0, 0, NAN, 1, NAN, NAN],  # any: 1, 0, unknown, 1, none, unknown
        buy=[NAN] * 6,
    )
    found = space.losses(outputs, labels)
    p = sigmoid(0.5)
    expected = [(0.2, 1), (0.7, 0), (1.0, 1), (0.6, 0)]
    assert found["buy_action"].item() == pytest.approx(sum(bernoulli(p * sigmoid(x), y) for x, y in expected) / 4, rel=1e-5)
    assert set(found) == {"click", "cart", "wish", "buy", "buy_action"}
    assert found["buy"].item() == pytest.approx(
        bernoulli(p * (sigmoid(0.6) * sigmoid(0.3) + (1 - sigmoid(0.6)) * sigmoid(0.1)), 0), rel=1e-5
    )


def test_no_digit_is_lost_in_a_mixture():
    space = EntireSpacePaths(ONE, actions={"buy": ["cart"]})
    for cart, after, other in [(60.0, -60.0, -60.0), (-60.0, -60.0, -70.0), (60.0, -80.0, 60.0)]:
        outputs = outputs_of(click=[60.0], cart=[cart], buy=[after], buy_otherwise=[other])
        loss = space.losses(outputs, labels_of(click=[1], cart=[1], buy=[1]))["buy"]
        y2 = math.exp(cart) / (1 + math.exp(cart))
        not_y2 = 1 / (1 + math.exp(cart))
        mixture = y2 * sigmoid(after) + not_y2 * sigmoid(other)
        assert loss.item() == pytest.approx(-math.log(mixture), rel=1e-5)
        loss.backward()
        assert outputs["buy"].grad.item() != 0


def test_the_second_way_is_trained_by_the_loss_of_the_task():
    space = EntireSpacePaths(ONE, actions={"buy": ["cart"]})
    outputs = outputs_of(click=[0.1], cart=[0.2], buy=[0.3], buy_otherwise=[0.4])
    losses = space.losses(outputs, labels_of(click=[0], cart=[NAN], buy=[NAN]))
    losses["buy"].backward()
    assert all(output.grad.item() > 0 for name, output in outputs.items() if name in ("click", "buy", "buy_otherwise"))
    assert space.trained(losses) == {"click", "cart", "buy", "buy_otherwise"}
    assert space.trained(["click"]) == {"click"}
    assert space.couples


def test_what_follows_a_mixture():
    tasks = [*ONE, Binary("again", given="buy"), Regression("paid", given="buy")]
    space = EntireSpacePaths(tasks, actions={"buy": ["cart"]})
    outputs = outputs_of(click=[0.5], cart=[0.2], buy=[1.0], buy_otherwise=[-2.0], again=[0.3], paid=[2.0])
    buy = sigmoid(0.5) * (sigmoid(0.2) * sigmoid(1.0) + (1 - sigmoid(0.2)) * sigmoid(-2.0))
    predicted = space.predict(outputs)
    assert predicted["click_and_buy_and_again"].item() == pytest.approx(buy * sigmoid(0.3), rel=1e-5)
    assert predicted["click_and_buy_and_paid"].item() == pytest.approx(buy * 2.0, rel=1e-5)
    losses = space.losses(outputs, labels_of(click=[1], cart=[1], buy=[1], again=[0], paid=[3.0]))
    assert losses["again"].item() == pytest.approx(bernoulli(buy * sigmoid(0.3), 0), rel=1e-5)
    assert losses["paid"].item() == pytest.approx(0.5)


def test_what_stands_in_rows_that_are_not_known_does_not_matter():
    space = EntireSpacePaths(TWO, actions={"buy": ["cart", "wish"]})
    names = ("click", "cart", "wish", "buy", "buy_action", "buy_otherwise")
    outputs = outputs_of(**{name: [0.1 * place, NAN] for place, name in enumerate(names)})
    losses = space.losses(outputs, labels_of(click=[1, NAN], cart=[1, NAN], wish=[0, NAN], buy=[0, NAN]))
    sum(losses.values()).backward()
    for output in outputs.values():
        assert output.grad.isfinite().all()
        assert output.grad[1].item() == 0


@pytest.mark.parametrize(
    ("actions", "parts"),
    [
        ({"bye": ["cart"]}, ["unknown task", "'bye'", "'buy'"]),
        ({"buy": ["kart"]}, ["unknown task", "'kart'", "'cart'"]),
        ({"buy": ["click"]}, ["`actions` of 'buy'", "['click']", "['cart', 'wish']"]),
        ({"buy": ["buy"]}, ["`actions` of 'buy'"]),
        ({"buy": []}, ["`actions` of 'buy'"]),
        ({"click": ["cart"]}, ["`actions` of 'click'"]),
    ],
)
def test_actions_that_are_none(actions, parts):
    with pytest.raises(ConfigError) as error:
        EntireSpacePaths(TWO, actions=actions)
    assert not [part for part in parts if part not in str(error.value)], str(error.value)


def test_without_actions_it_is_the_entire_space(pair):
    from polytask.spaces import EntireSpace

    outputs, labels = outputs_of(click=[0.5, -1.0], buy=[0.3, 0.8]), labels_of(click=[1, 0], buy=[1, NAN])
    found, expected = (space.losses(outputs, labels) for space in (EntireSpacePaths(pair, actions={}), EntireSpace(pair)))
    assert {name: loss.item() for name, loss in found.items()} == {name: loss.item() for name, loss in expected.items()}
    assert torch.equal(EntireSpacePaths(pair, actions={}).predict(outputs)["buy"], EntireSpace(pair).predict(outputs)["buy"])
