"""Unbiased over clicks, propensities that nothing trains, sums in logarithms for chains."""

import pytest
import torch

from impressions import NAN, cross_entropy, labels_of, outputs_of, patterns, sigmoid
from polytask.errors import ConfigError
from polytask.spaces import IPS, EntireSpace
from polytask.tasks import Binary, Multiclass, Regression

Q = (0.7, 0.2, 0.45)
BOUGHT = (1.0, 0.0, 1.0)
LOGITS = (0.4, -1.3, 0.9)


def expectation(space, q, truth):
    """Mean of a loss over all outcomes of the clicks, each as likely as q says."""
    outputs = outputs_of(click=torch.logit(torch.tensor(q)).tolist(), buy=LOGITS)
    total = 0.0
    for clicks in patterns(3):
        likely = 1.0
        for click, p in zip(clicks, truth, strict=True):
            likely *= p if click else 1 - p
        bought = [b if click else NAN for b, click in zip(BOUGHT, clicks, strict=True)]
        losses = space.losses(outputs, labels_of(click=clicks, buy=bought))
        total += likely * (losses["buy"].item() if "buy" in losses else 0.0)
    return total


def ideal():
    return sum(cross_entropy(x, y) for x, y in zip(LOGITS, BOUGHT, strict=True)) / 3


def test_unbiased_over_clicks_where_propensities_are_true(pair):
    assert expectation(IPS(pair, clip=0.01), Q, Q) == pytest.approx(ideal(), rel=1e-5)
    assert expectation(IPS(pair, clip=0.01), (0.3, 0.3, 0.9), Q) != pytest.approx(ideal(), rel=0.05)
    clicked_rows_alone = sum(q * cross_entropy(x, y) for q, x, y in zip(Q, LOGITS, BOUGHT, strict=True)) / sum(Q)
    assert clicked_rows_alone != pytest.approx(ideal(), rel=0.05)


def test_the_gradient_is_unbiased_too(pair):
    """So training goes where training on all labels would."""
    outputs = outputs_of(click=torch.logit(torch.tensor(Q)).tolist(), buy=LOGITS)
    total = torch.zeros(3)
    for clicks in patterns(3):
        likely = 1.0
        for click, p in zip(clicks, Q, strict=True):
            likely *= p if click else 1 - p
        bought = [b if click else NAN for b, click in zip(BOUGHT, clicks, strict=True)]
        losses = IPS(pair, clip=0.01).losses(outputs, labels_of(click=clicks, buy=bought))
        if "buy" in losses:
            total += likely * torch.autograd.grad(losses["buy"], outputs["buy"])[0].squeeze(1)
    assert total.tolist() == pytest.approx([(sigmoid(x) - y) / 3 for x, y in zip(LOGITS, BOUGHT, strict=True)], rel=1e-4)


def test_small_propensities_are_clipped(pair):
    outputs = outputs_of(click=[-6.0, 1.0, 0.0], buy=[0.5, -0.5, 0.0])
    labels = labels_of(click=[1, 1, 0], buy=[0, 1, NAN])
    found = IPS(pair, clip=0.1).losses(outputs, labels)
    expected = (cross_entropy(0.5, 0) / 0.1 + cross_entropy(-0.5, 1) / sigmoid(1.0)) / 3
    assert found["buy"].item() == pytest.approx(expected, rel=1e-5)


def test_a_chain_is_weighed_by_the_product_of_its_steps(chain):
    outputs = outputs_of(click=[0.5, 0.0], cart=[-0.4, 0.0], buy=[0.3, 0.0], like=[0.0, 0.0])
    labels = labels_of(click=[1, 0], cart=[1, NAN], buy=[0, NAN], like=[NAN, NAN])
    found = IPS(chain, clip=0.01).losses(outputs, labels)
    assert found["cart"].item() == pytest.approx(cross_entropy(-0.4, 1) / sigmoid(0.5) / 2, rel=1e-5)
    assert found["buy"].item() == pytest.approx(cross_entropy(0.3, 0) / (sigmoid(0.5) * sigmoid(-0.4)) / 2, rel=1e-5)


def test_nothing_trains_a_propensity(chain):
    outputs = outputs_of(click=[0.5, -3.0], cart=[-0.4, 0.2], buy=[0.3, 1.0], like=[0.0, 0.0])
    losses = IPS(chain).losses(outputs, labels_of(click=[1, 1], cart=[1, 1], buy=[0, 1], like=[NAN, NAN]))
    reached = {
        name: [bool(g is not None and g.any()) for g in torch.autograd.grad(loss, list(outputs.values()), allow_unused=True)]
        for name, loss in losses.items()
        if name in ("cart", "buy")
    }
    assert reached == {"cart": [False, True, False, False], "buy": [False, False, True, False]}


def test_rows_weigh_and_what_stands_in_other_rows_does_not_matter(pair):
    weight = torch.tensor([2.0, 1.0, 4.0, 1.0])
    labels = {name: own._replace(weight=weight) for name, own in labels_of(click=[1, 0, 1, NAN], buy=[1, NAN, NAN, NAN]).items()}
    outputs = outputs_of(click=[0.5, 0.0, NAN, NAN], buy=[0.3, float("inf"), NAN, NAN])
    found = IPS(pair).losses(outputs, labels)["buy"]
    assert found.item() == pytest.approx(2 * cross_entropy(0.3, 1) / sigmoid(0.5) / 3, rel=1e-5)  # row 2: clicked, not labelled
    found.backward()
    assert outputs["buy"].grad[1:].flatten().tolist() == [0.0, 0.0, 0.0]


def test_every_kind_of_task_is_weighed():
    tasks = [
        Binary("click"),
        Regression("watch", given="click"),
        Multiclass("device", given="click", classes=("phone", "desktop", "tv")),
    ]
    outputs = outputs_of(click=[0.5, 0.0], watch=[0.4, 0.0]) | {"device": torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]])}
    found = IPS(tasks).losses(outputs, labels_of(click=[1, 0], watch=[1.0, NAN], device=[2.0, NAN]))
    assert found["watch"].item() == pytest.approx(0.18 / sigmoid(0.5) / 2, rel=1e-5)
    assert found["device"].item() == pytest.approx(2.407606 / sigmoid(0.5) / 2, rel=1e-5)


def test_the_joint_loss_is_added(pair):
    outputs = outputs_of(click=[0.5, -1.0], buy=[0.3, 0.8])
    labels = labels_of(click=[1, 0], buy=[1, NAN])
    alone, both = IPS(pair), IPS(pair, joint_weight=0.3)
    joint = EntireSpace(pair).losses(outputs, labels)["buy"]
    assert both.losses(outputs, labels)["buy"].item() == pytest.approx(
        (alone.losses(outputs, labels)["buy"] + 0.3 * joint).item(), rel=1e-6
    )
    assert (alone.couples, both.couples) == (False, True)
    nobody = labels_of(click=[0, 0], buy=[NAN, NAN])
    assert list(alone.losses(outputs, nobody)) == ["click"]
    assert both.losses(outputs, nobody)["buy"].item() == pytest.approx(
        0.3 * EntireSpace(pair).losses(outputs, nobody)["buy"].item(), rel=1e-6
    )


@pytest.mark.parametrize("options", [{"clip": 0.0}, {"clip": 2.0}, {"joint_weight": -1.0}])
def test_numbers_out_of_range(pair, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        IPS(pair, **options)
