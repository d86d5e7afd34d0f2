"""Chains and trees on all rows: closed forms, digits where products round, labels that are missing, who is trained."""

import math

import pytest
import torch

from impressions import NAN, cross_entropy, labels_of, outputs_of, sigmoid
from polytask.errors import ConfigError
from polytask.spaces import EntireSpace
from polytask.tasks import Binary, Regression

CHAIN = labels_of(
    click=[1, 1, 0, 1, NAN, 1, 0],
    cart=[1, 1, NAN, 0, NAN, NAN, NAN],
    buy=[1, 0, NAN, NAN, NAN, NAN, NAN],
    like=[1, NAN, 0, 0, 1, 1, NAN],
)
LOGITS = outputs_of(
    click=[0.5, -1.0, 0.3, 2.0, 9.0, -0.4, 1.1],
    cart=[-0.7, 0.2, 1.5, -1.2, 9.0, 0.9, -2.0],
    buy=[0.1, -0.3, 0.8, 1.4, 9.0, -0.6, 0.4],
    like=[0.2, 9.0, -0.5, 0.7, 1.0, -1.3, 9.0],
)


def negative_log(p, label):
    return -math.log(p if label else 1 - p)


def test_a_chain_of_three_against_plain_products(chain):
    losses = EntireSpace(chain).losses(LOGITS, CHAIN)
    x = {name: output.flatten().tolist() for name, output in LOGITS.items()}
    p = [[sigmoid(x[name][row]) for name in ("click", "cart", "buy")] for row in range(7)]
    click = [(0, 1), (1, 1), (2, 0), (3, 1), (5, 1), (6, 0)]
    cart = [(0, 1), (1, 1), (2, 0), (3, 0), (6, 0)]  # row 5: clicked, cart not labelled
    buy = [(0, 1), (1, 0), (2, 0), (3, 0), (6, 0)]  # row 3: not in the cart, so not bought
    expected = {
        "click": sum(negative_log(p[row][0], y) for row, y in click) / 6,
        "cart": sum(negative_log(p[row][0] * p[row][1], y) for row, y in cart) / 5,
        "buy": sum(negative_log(p[row][0] * p[row][1] * p[row][2], y) for row, y in buy) / 5,
        "like": sum(cross_entropy(x["like"][row], y) for row, y in [(0, 1), (2, 0), (3, 0), (4, 1), (5, 1)]) / 5,
    }
    assert list(losses) == ["buy", "like", "click", "cart"]
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-5)


def test_a_tree_whose_branches_do_not_meet():
    tasks = [Binary("click"), Binary("cart", given="click"), Binary("buy", given="cart"), Binary("wish", given="click")]
    outputs = outputs_of(click=[0.5, -1.0], cart=[0.3, 0.4], buy=[1.0, 2.0], wish=[-0.5, 0.7])
    labels = labels_of(click=[1, 0], cart=[0, NAN], buy=[NAN, NAN], wish=[1, NAN])
    losses = EntireSpace(tasks).losses(outputs, labels)
    wish = (negative_log(sigmoid(0.5) * sigmoid(-0.5), 1) + negative_log(sigmoid(-1.0) * sigmoid(0.7), 0)) / 2
    assert losses["wish"].item() == pytest.approx(wish, rel=1e-6)
    reached = torch.autograd.grad(losses["wish"], list(outputs.values()), allow_unused=True, retain_graph=True)
    assert [bool(gradient.any()) for gradient in reached] == [True, False, False, True]
    losses["buy"].backward()
    assert outputs["wish"].grad is None or not outputs["wish"].grad.any()


def test_two_trees_do_not_meet():
    tasks = [Binary("open"), Binary("view"), Binary("join", given="open"), Binary("rent", given="view")]
    outputs = outputs_of(open=[0.5], view=[-1.0], join=[0.2], rent=[0.9])
    losses = EntireSpace(tasks).losses(outputs, labels_of(open=[0], view=[1], join=[NAN], rent=[1]))
    assert losses["join"].item() == pytest.approx(negative_log(sigmoid(0.5) * sigmoid(0.2), 0), rel=1e-6)
    assert losses["rent"].item() == pytest.approx(negative_log(sigmoid(-1.0) * sigmoid(0.9), 1), rel=1e-6)


@pytest.mark.parametrize("logits", [(60.0, 60.0), (60.0, -60.0), (-60.0, 60.0), (-60.0, -60.0), (17.0, 18.0), (-120.0, 120.0)])
@pytest.mark.parametrize("bought", [0.0, 1.0])
def test_no_digit_and_no_gradient_is_lost_in_float32(pair, logits, bought):
    """Against float64, in sums of positive terms."""
    outputs = outputs_of(click=[logits[0]], buy=[logits[1]])
    labels = labels_of(click=[bought], buy=[bought if bought else NAN])
    loss = EntireSpace(pair).losses(outputs, labels)["buy"]
    a, b = logits
    # -log p = log((1 + e^-a)(1 + e^-b)); 1 - p = (e^-a + e^-b + e^-a-b) p
    log_p = -math.log1p(math.exp(-a)) - math.log1p(math.exp(-b))
    log_odds_against = math.log(math.exp(-a) + math.exp(-b) + math.exp(-a - b))
    expected = -log_p if bought else math.log1p(math.exp(-log_odds_against))
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-37)
    loss.backward()
    slope = [1 / (1 + math.exp(x)) for x in logits]  # d log p / dx = 1 - sigmoid(x)
    share = [s * math.exp(-log_odds_against) for s in slope]  # d log(1 - p) / dx = -(1 - sigmoid(x)) p / (1 - p)
    wanted = [-s for s in slope] if bought else share
    found = [outputs["click"].grad.item(), outputs["buy"].grad.item()]
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-37)
    assert any(found) == any(abs(value) > 1e-44 for value in wanted)  # float32 itself ends there


def test_a_clipped_product_would_have_lost_it(pair):
    """What public code does: the same row, and no gradient."""
    outputs = outputs_of(click=[-60.0], buy=[-60.0])
    p = (outputs["click"].sigmoid() * outputs["buy"].sigmoid()).clamp(1e-15, 1 - 1e-15)
    (-p.log()).sum().backward()
    assert outputs["click"].grad.item() == 0
    ours = outputs_of(click=[-60.0], buy=[-60.0])
    EntireSpace(pair).losses(ours, labels_of(click=[1], buy=[1]))["buy"].backward()
    assert ours["click"].grad.item() == pytest.approx(-1.0)


def test_a_batch_without_any_click_trains_both_factors(pair):
    outputs = outputs_of(click=[0.2, -0.4], buy=[0.6, 1.0])
    losses = EntireSpace(pair).losses(outputs, labels_of(click=[0, 0], buy=[NAN, NAN]))
    assert list(losses) == ["click", "buy"]
    losses["buy"].backward()
    assert (outputs["buy"].grad > 0).all()
    assert (outputs["click"].grad > 0).all()


def test_there_is_no_loss_on_clicked_rows_alone(pair):
    """The label that trains `buy` is that of click and buy: with p(click) certain, unclicked rows are negatives of it alone."""
    outputs = outputs_of(click=[0.3, -0.8], buy=[0.6, 1.0])
    losses = EntireSpace(pair).losses(outputs, labels_of(click=[1, 0], buy=[1, NAN]))
    p = [sigmoid(0.3) * sigmoid(0.6), sigmoid(-0.8) * sigmoid(1.0)]
    assert losses["buy"].item() == pytest.approx(-(math.log(p[0]) + math.log(1 - p[1])) / 2, rel=1e-6)
    assert set(losses) == {"click", "buy"}


def test_what_stands_in_rows_that_are_not_known_does_not_matter(pair):
    labels = labels_of(click=[1, 0, 1, NAN], buy=[1, NAN, NAN, NAN])
    clean = outputs_of(click=[0.3, -0.8, 0.1, 0.0], buy=[0.6, 1.0, 0.0, 0.0])
    wild = outputs_of(click=[0.3, -0.8, 0.1, NAN], buy=[0.6, 1.0, math.inf, -math.inf])
    space = EntireSpace(pair)
    expected, found = space.losses(clean, labels), space.losses(wild, labels)
    assert found["buy"].item() == expected["buy"].item()
    sum(found.values()).backward()
    sum(expected.values()).backward()
    for name in ("click", "buy"):
        assert wild[name].grad.isfinite().all()
        torch.testing.assert_close(wild[name].grad, clean[name].grad)


def test_rows_weigh_what_they_are_said_to(pair):
    labels = labels_of(click=[1, 0, 0], buy=[0, NAN, NAN])
    weight = torch.tensor([2.0, 0.5, 0.0])
    weighed = {name: own._replace(weight=weight) for name, own in labels.items()}
    outputs = outputs_of(click=[0.3, -0.8, math.inf], buy=[0.6, 1.0, math.nan])
    losses = EntireSpace(pair).losses(outputs, weighed)
    p = [sigmoid(0.3) * sigmoid(0.6), sigmoid(-0.8) * sigmoid(1.0)]
    assert losses["buy"].item() == pytest.approx(-(2 * math.log(1 - p[0]) + 0.5 * math.log(1 - p[1])) / 2.5, rel=1e-6)
    losses["buy"].backward()
    assert outputs["buy"].grad[2].item() == 0


def test_absent_tasks(pair):
    outputs = outputs_of(click=[0.3, -0.8], buy=[0.6, 1.0])
    space = EntireSpace(pair)
    nothing = labels_of(click=[NAN, NAN], buy=[NAN, NAN])
    assert space.losses(outputs, nothing) == {}
    assert space.losses(outputs, {}) == {}
    assert list(space.losses(outputs, labels_of(click=[1, 0]))) == ["click"]  # no column of purchases: nothing is known of them
    assert space.losses(outputs, labels_of(buy=[1, 0])) == {}  # not known whether they were clicked
    assert list(space.losses(outputs, labels_of(click=[1, 1], buy=[NAN, NAN]))) == ["click"]


def test_tasks_that_are_not_binary_are_learnt_where_they_exist():
    tasks = [Binary("click"), Regression("watch", given="click")]
    outputs = outputs_of(click=[0.3, -0.8], watch=[0.6, 1.0])
    losses = EntireSpace(tasks).losses(outputs, labels_of(click=[1, 0], watch=[2.0, NAN]))
    assert losses["watch"].item() == pytest.approx((2.0 - 0.6) ** 2 / 2, rel=1e-6)
    assert losses["click"].item() == pytest.approx((cross_entropy(0.3, 1) + cross_entropy(-0.8, 0)) / 2, rel=1e-6)


def test_without_sample_spaces_nothing_is_joined():
    space = EntireSpace([Binary("click"), Binary("like")])
    assert not space.couples
    losses = space.losses(outputs_of(click=[0.3], like=[-1.0]), labels_of(click=[1], like=[0]))
    assert losses["like"].item() == pytest.approx(cross_entropy(-1.0, 0), rel=1e-6)


def test_half_precision_is_widened(pair):
    outputs = {name: output.detach().bfloat16() for name, output in outputs_of(click=[-0.5], buy=[60.0]).items()}
    loss = EntireSpace(pair).losses(outputs, labels_of(click=[0], buy=[NAN]))["buy"]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-math.log(1 - sigmoid(-0.5)), rel=1e-6)


def test_predictions_of_a_chain(chain):
    outputs = {name: output.detach() for name, output in LOGITS.items()}
    found = EntireSpace(chain).predict(outputs)
    assert list(found) == ["buy", "click_and_cart_and_buy", "like", "click", "cart", "click_and_cart"]
    torch.testing.assert_close(found["buy"], outputs["buy"].sigmoid().squeeze(1))
    torch.testing.assert_close(found["click_and_cart_and_buy"], found["click"] * found["cart"] * found["buy"])


@pytest.mark.parametrize(
    ("tasks", "parts"),
    [
        ([Binary("a", given="b"), Binary("b", given="a")], ["a -> b -> a"]),
        ([Binary("a", given="c")], ["'c'"]),
        ([Regression("a"), Binary("b", given="a")], ["'a', which is regression"]),
        ([Binary("a"), Binary("b", given="a"), Binary("a_and_b")], ["'a_and_b' 2 times"]),
    ],
)
def test_trees_that_are_none(tasks, parts):
    with pytest.raises(ConfigError) as error:
        EntireSpace(tasks)
    assert not [part for part in parts if part not in str(error.value)], str(error.value)
