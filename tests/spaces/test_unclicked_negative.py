"""Unclicked rows as negatives of a part: closed forms, and what it does to estimates."""

import pytest
import torch

from impressions import NAN, cross_entropy, labels_of, outputs_of
from polytask.errors import ConfigError
from polytask.spaces import UnclickedNegative
from polytask.tasks import Binary, Regression


def test_a_chain_by_hand(chain):
    outputs = outputs_of(click=[0.5] * 5, cart=[0.1, 0.2, 0.3, 0.4, 0.5], buy=[1.0, -1.0, 0.5, -0.5, 2.0], like=[0.0] * 5)
    labels = labels_of(click=[1, 1, 0, 1, NAN], cart=[1, 0, NAN, NAN, NAN], buy=[1, NAN, NAN, NAN, NAN], like=[NAN] * 5)
    found = UnclickedNegative(chain, rate=0.2).losses(outputs, labels)
    cart = (cross_entropy(0.1, 1) + cross_entropy(0.2, 0) + 0.2 * cross_entropy(0.3, 0)) / 2.2  # row 3 is not labelled
    buy = (
        cross_entropy(1.0, 1) + 0.2 * cross_entropy(-1.0, 0) + 0.2 * cross_entropy(0.5, 0)
    ) / 1.4  # rows 1 and 2: not in the cart
    assert list(found) == ["buy", "click", "cart"]
    assert found["cart"].item() == pytest.approx(cart, rel=1e-6)
    assert found["buy"].item() == pytest.approx(buy, rel=1e-6)


def test_a_batch_without_clicks_says_not_bought(pair):
    outputs = outputs_of(click=[0.5], buy=[1.0])
    found = UnclickedNegative(pair).losses(outputs, labels_of(click=[0], buy=[NAN]))
    assert found["buy"].item() == pytest.approx(cross_entropy(1.0, 0), rel=1e-6)
    assert list(UnclickedNegative(pair).losses(outputs, labels_of(click=[1], buy=[NAN]))) == ["click"]


def test_the_estimate_that_fits_best_is_too_low(pair):
    """A constant: 100 rows, 10 clicked, 5 bought. p(buy | click) = .5, and what fits is 5 / (10 + .3 x 90)."""
    labels = labels_of(click=[1.0] * 10 + [0.0] * 90, buy=[1.0] * 5 + [0.0] * 5 + [NAN] * 90)
    logit = torch.tensor(0.0, requires_grad=True)
    p = 5 / 37
    with torch.no_grad():
        logit.copy_(torch.logit(torch.tensor(p)))
    losses = UnclickedNegative(pair, rate=0.3).losses({"click": torch.zeros(100, 1), "buy": logit.expand(100, 1)}, labels)
    losses["buy"].backward()
    assert logit.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_row_weights_and_other_kinds():
    tasks = [Binary("click"), Binary("buy", given="click"), Regression("watch", given="click")]
    weight = torch.tensor([2.0, 3.0])
    labels = {name: own._replace(weight=weight) for name, own in labels_of(click=[1, 0], buy=[1, NAN], watch=[1.0, NAN]).items()}
    found = UnclickedNegative(tasks, rate=0.5).losses(outputs_of(click=[0.0, 0.0], buy=[0.3, 0.7], watch=[0.4, 0.0]), labels)
    assert found["buy"].item() == pytest.approx((2 * cross_entropy(0.3, 1) + 1.5 * cross_entropy(0.7, 0)) / 3.5, rel=1e-6)
    assert found["watch"].item() == pytest.approx(0.18, rel=1e-6)


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, NAN])
def test_rates_that_are_none(pair, rate):
    with pytest.raises(ConfigError, match="`rate` lies between 0 and 1, above 0"):
        UnclickedNegative(pair, rate=rate)
