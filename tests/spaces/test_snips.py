"""Weights that sum to 1: the ratio of two unbiased sums."""

import pytest
import torch

from impressions import NAN, cross_entropy, labels_of, outputs_of, patterns, sigmoid
from polytask.spaces import IPS, SNIPS, Clicked
from polytask.tasks import Binary, Quantile

Q = (0.7, 0.2, 0.45)
BOUGHT = (1.0, 0.0, 1.0)
LOGITS = (0.4, -1.3, 0.9)


def test_weights_sum_to_one(pair):
    outputs = outputs_of(click=[0.5, -1.0, 0.2], buy=[0.3, 0.8, 0.0])
    found = SNIPS(pair).losses(outputs, labels_of(click=[1, 1, 0], buy=[1, 0, NAN]))["buy"]
    w = [1 / sigmoid(0.5), 1 / sigmoid(-1.0)]
    assert found.item() == pytest.approx((w[0] * cross_entropy(0.3, 1) + w[1] * cross_entropy(0.8, 0)) / sum(w), rel=1e-5)


def test_both_sums_are_unbiased(pair):
    """E[loss x sum of weights] / E[sum of weights] is the loss that all rows would have."""
    outputs = outputs_of(click=torch.logit(torch.tensor(Q)).tolist(), buy=LOGITS)
    above = below = 0.0
    for clicks in patterns(3):
        likely = 1.0
        for click, p in zip(clicks, Q, strict=True):
            likely *= p if click else 1 - p
        weights = sum(click / p for click, p in zip(clicks, Q, strict=True))
        bought = [b if click else NAN for b, click in zip(BOUGHT, clicks, strict=True)]
        losses = SNIPS(pair, clip=0.01).losses(outputs, labels_of(click=clicks, buy=bought))
        above += likely * weights * (losses["buy"].item() if "buy" in losses else 0.0)
        below += likely * weights
    assert below == pytest.approx(3.0, rel=1e-6)
    ideal = sum(cross_entropy(x, y) for x, y in zip(LOGITS, BOUGHT, strict=True)) / 3
    assert above / below == pytest.approx(ideal, rel=1e-5)


def test_a_loss_that_is_the_same_everywhere_is_estimated_without_error(pair):
    outputs = outputs_of(click=[0.5, -1.0, 0.2], buy=[0.7, 0.7, 0.7])
    for clicks in [(1, 0, 0), (0, 1, 1), (1, 1, 1)]:
        bought = [1.0 if click else NAN for click in clicks]
        labels = labels_of(click=clicks, buy=bought)
        assert SNIPS(pair).losses(outputs, labels)["buy"].item() == pytest.approx(cross_entropy(0.7, 1), rel=1e-6)
        assert IPS(pair).losses(outputs, labels)["buy"].item() != pytest.approx(cross_entropy(0.7, 1), rel=0.05)


def test_labels_that_are_missing_do_no_harm(pair):
    """The clicked row without a label is left out of both sums; `ips` would divide by rows it has no loss of."""
    outputs = outputs_of(click=[0.5, -1.0], buy=[0.3, 0.8])
    found = SNIPS(pair).losses(outputs, labels_of(click=[1, 1], buy=[1, NAN]))
    assert found["buy"].item() == pytest.approx(cross_entropy(0.3, 1), rel=1e-6)


def test_nothing_trains_a_propensity(pair):
    outputs = outputs_of(click=[0.5, -1.0], buy=[0.3, 0.8])
    SNIPS(pair).losses(outputs, labels_of(click=[1, 1], buy=[1, 0]))["buy"].backward()
    assert outputs["click"].grad is None
    assert outputs["buy"].grad.all()


def test_where_all_clicks_are_alike_it_is_the_baseline():
    tasks = [Binary("click"), Binary("buy", given="click"), Quantile("minutes", given="click", levels=(0.5,))]
    outputs = outputs_of(click=[-1.0, -1.0, -1.0], buy=[0.3, 0.8, 0.1], minutes=[0.1, 0.2, 0.3])
    labels = labels_of(click=[1, 1, 0], buy=[1, 0, NAN], minutes=[2.0, -1.0, NAN])
    labels = {name: own._replace(weight=torch.tensor([2.0, 0.5, 1.0])) for name, own in labels.items()}
    found, expected = SNIPS(tasks).losses(outputs, labels), Clicked(tasks).losses(outputs, labels)
    for name in ("click", "buy", "minutes"):
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-6)
