"""A twin for unclicked rows, weights that sum to 1 on either side, and the penalty that ties the two."""

import pytest
import torch

from impressions import NAN, cross_entropy, labels_of, outputs_of, sigmoid
from polytask.errors import ConfigError
from polytask.spaces import SNIPS, Counterfactual, EntireSpace
from polytask.tasks import Binary, Regression


def parts():
    outputs = outputs_of(click=[0.5, -1.0, 0.2, -4.0], buy=[0.3, 0.8, -0.6, 0.1], buy_counterfactual=[-0.2, 0.7, 1.1, -0.3])
    return outputs, labels_of(click=[1, 1, 0, 0], buy=[1, 0, NAN, NAN])


def test_losses_by_hand(pair):
    outputs, labels = parts()
    found = Counterfactual(pair, joint_weight=0.0).losses(outputs, labels)
    assert list(found) == ["click", "buy", "buy_counterfactual"]
    assert found["buy"].item() == pytest.approx(SNIPS(pair).losses(outputs, labels)["buy"].item(), rel=1e-6)
    w = [1 / (1 - sigmoid(0.2)), 1 / (1 - sigmoid(-4.0))]
    twin = (w[0] * cross_entropy(1.1, 1) + w[1] * cross_entropy(-0.3, 1)) / sum(w)
    assert found["buy_counterfactual"].item() == pytest.approx(twin, rel=1e-5)


def test_the_whole_loss_has_the_joint_one(pair):
    outputs, labels = parts()
    joint = EntireSpace(pair).losses(outputs, labels)["buy"]
    alone = Counterfactual(pair, joint_weight=0.0).losses(outputs, labels)["buy"]
    space = Counterfactual(pair)
    assert space.losses(outputs, labels)["buy"].item() == pytest.approx((alone + joint).item(), rel=1e-6)
    assert space.couples


def test_the_penalty_is_how_far_the_twins_are_from_one(pair):
    outputs, _ = parts()
    found = Counterfactual(pair, consistency=0.1).penalty(outputs)
    sums = [sigmoid(a) + sigmoid(b) for a, b in [(0.3, -0.2), (0.8, 0.7), (-0.6, 1.1), (0.1, -0.3)]]
    assert found.item() == pytest.approx(0.1 * sum(abs(1 - total) for total in sums) / 4, rel=1e-5)
    found.backward()
    assert outputs["click"].grad is None
    assert outputs["buy"].grad.any()
    assert outputs["buy_counterfactual"].grad.any()
    assert Counterfactual(pair, consistency=0.0).penalty(outputs) is None


def test_who_is_trained_by_what(pair):
    outputs, labels = parts()
    losses = Counterfactual(pair, joint_weight=0.0).losses(outputs, labels)
    reached = {
        name: [bool(g is not None and g.any()) for g in torch.autograd.grad(loss, list(outputs.values()), allow_unused=True)]
        for name, loss in losses.items()
    }
    assert reached == {"click": [True, False, False], "buy": [False, True, False], "buy_counterfactual": [False, False, True]}


def test_the_twin_starts_at_the_other_rate_and_needs_unclicked_rows():
    tasks = [Binary("click", base_rate=0.3), Binary("buy", given="click", base_rate=0.1), Regression("watch", given="click")]
    space = Counterfactual(tasks)
    (twin,) = space.tasks[3:]
    assert (twin.name, twin.base_rate, twin.given, twin.auxiliary) == ("buy_counterfactual", 0.9, None, True)
    outputs = outputs_of(click=[0.1], buy=[0.2], buy_counterfactual=[0.3], watch=[0.4])
    found = space.losses(outputs, labels_of(click=[1], buy=[1], watch=[1.0]))
    assert list(found) == ["click", "buy", "watch"]
    nobody = space.losses(outputs, labels_of(click=[0], buy=[NAN], watch=[NAN]))
    assert list(nobody) == ["click", "buy", "buy_counterfactual"]  # buy: by the joint loss
    assert found["watch"].item() == pytest.approx(0.18, rel=1e-6)


def test_in_a_chain_outside_is_all_that_did_not_reach_the_step_before(chain):
    outputs = outputs_of(
        click=[0.5, 0.1, 0.2],
        cart=[0.4, -0.5, 0.9],
        buy=[0.1, 0.2, 0.3],
        like=[0.0, 0.0, 0.0],
        buy_counterfactual=[0.7, -0.8, 1.2],
        cart_counterfactual=[0.0, 0.1, 0.6],
    )
    labels = labels_of(click=[1, 1, 0], cart=[1, 0, NAN], buy=[0, NAN, NAN], like=[NAN] * 3)
    found = Counterfactual(chain).losses(outputs, labels)
    w = [1 / (1 - sigmoid(0.1) * sigmoid(-0.5)), 1 / (1 - sigmoid(0.2) * sigmoid(0.9))]
    twin = (w[0] * cross_entropy(-0.8, 1) + w[1] * cross_entropy(1.2, 1)) / sum(w)
    assert found["buy_counterfactual"].item() == pytest.approx(twin, rel=1e-5)
    assert found["cart_counterfactual"].item() == pytest.approx(cross_entropy(0.6, 1), rel=1e-5)


def test_a_name_that_is_taken():
    with pytest.raises(ConfigError, match="'buy_counterfactual' 2 times"):
        Counterfactual([Binary("click"), Binary("buy", given="click"), Binary("buy_counterfactual")])
