"""Right where either the propensities or the imputed labels are; neither head trains the other."""

import pytest
import torch

from impressions import NAN, cross_entropy, labels_of, outputs_of, patterns, sigmoid
from polytask.spaces import DR, IPS, EntireSpace
from polytask.tasks import Binary, Count, Multiclass, Regression

Q = (0.7, 0.2, 0.45)
RATE = (0.6, 0.3, 0.1)  # true p(buy | click)
LOGITS = (0.4, -1.3, 0.9)


def expectation(space, q, imputed):
    """Mean of the loss over clicks and purchases, both drawn from the truth."""
    logit = torch.logit(torch.tensor([*q, *imputed]))
    outputs = outputs_of(click=logit[:3].tolist(), buy=LOGITS, buy_imputed=logit[3:].tolist())
    total = 0.0
    for clicks in patterns(3):
        for bought in patterns(3):
            likely = 1.0
            for click, p, buy, r in zip(clicks, Q, bought, RATE, strict=True):
                likely *= (p if click else 1 - p) * (r if buy else 1 - r)
            seen = [buy if click else NAN for buy, click in zip(bought, clicks, strict=True)]
            total += likely * space.losses(outputs, labels_of(click=clicks, buy=seen))["buy"].item()
    return total


def ideal():
    return sum(r * cross_entropy(x, 1) + (1 - r) * cross_entropy(x, 0) for x, r in zip(LOGITS, RATE, strict=True)) / 3


def test_right_where_either_is(pair):
    space = DR(pair, clip=0.01)
    assert expectation(space, Q, (0.5, 0.9, 0.2)) == pytest.approx(ideal(), rel=1e-5)
    assert expectation(space, (0.3, 0.3, 0.9), RATE) == pytest.approx(ideal(), rel=1e-5)
    assert expectation(space, (0.3, 0.3, 0.9), (0.5, 0.9, 0.2)) != pytest.approx(ideal(), rel=0.02)


def parts():
    outputs = outputs_of(click=[0.5, -1.0, 0.2], buy=[0.3, 0.8, -0.6], buy_imputed=[-0.2, 0.7, 1.1])
    return outputs, labels_of(click=[1, 1, 0], buy=[1, 0, NAN])


def test_losses_by_hand(pair):
    outputs, labels = parts()
    found = DR(pair).losses(outputs, labels)
    q = [sigmoid(0.5), sigmoid(-1.0)]
    guess = [cross_entropy(x, sigmoid(m)) for x, m in [(0.3, -0.2), (0.8, 0.7), (-0.6, 1.1)]]
    error = [cross_entropy(0.3, 1), cross_entropy(0.8, 0)]
    missed = [e - g for e, g in zip(error, guess, strict=False)]
    assert found["buy"].item() == pytest.approx((sum(guess) + missed[0] / q[0] + missed[1] / q[1]) / 3, rel=1e-5)
    assert found["buy_imputed"].item() == pytest.approx((missed[0] ** 2 / q[0] + missed[1] ** 2 / q[1]) / 3, rel=1e-5)
    assert list(found) == ["click", "buy", "buy_imputed"]


def test_who_is_trained_by_what(pair):
    """Public code lets the loss of the imputing head train p(buy | click): the mistake that this holds against."""
    outputs, labels = parts()
    losses = DR(pair).losses(outputs, labels)
    reached = {
        name: [bool(g is not None and g.any()) for g in torch.autograd.grad(loss, list(outputs.values()), allow_unused=True)]
        for name, loss in losses.items()
    }
    assert reached == {"click": [True, False, False], "buy": [False, True, False], "buy_imputed": [False, False, True]}


def test_unclicked_rows_train_it_which_ips_does_not(pair):
    outputs, labels = parts()
    gradient = torch.autograd.grad(DR(pair).losses(outputs, labels)["buy"], outputs["buy"])[0].flatten()
    assert gradient[2].item() == pytest.approx((sigmoid(-0.6) - sigmoid(1.1)) / 3, rel=1e-5)
    assert torch.autograd.grad(IPS(pair).losses(outputs, labels)["buy"], outputs["buy"])[0][2].item() == 0


def test_a_batch_without_clicks_is_imputed_and_teaches_the_imputing_head_nothing(pair):
    outputs, _ = parts()
    found = DR(pair).losses(outputs, labels_of(click=[0, 0, 0], buy=[NAN] * 3))
    assert list(found) == ["click", "buy"]
    assert list(DR(pair).losses(outputs, labels_of(click=[1, 1, 1], buy=[NAN] * 3))) == ["click"]


def test_numbers_and_counts_are_imputed_in_their_own_encoding():
    tasks = [
        Binary("click"),
        Regression("watch", given="click", mean=50.0, scale=10.0),
        Count("visits", given="click", mean=2.0),
        Multiclass("device", given="click", classes=("phone", "desktop")),
    ]
    space = DR(tasks, clip=0.01)
    assert [task.name for task in space.tasks[4:]] == ["watch_imputed", "visits_imputed"]
    assert all(task.auxiliary and task.given is None for task in space.tasks[4:])
    outputs = outputs_of(
        click=[0.0, 0.0], watch=[0.4, -0.2], visits=[0.1, 0.3], watch_imputed=[1.0, 0.5], visits_imputed=[0.2, -0.1]
    )
    outputs["device"] = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    labels = labels_of(click=[1, 0], watch=[2.0, NAN], visits=[3.0, NAN], device=[0.0, NAN])
    found = space.losses(outputs, labels)
    guess = [(0.4 - 1.0) ** 2 / 2, (-0.2 - 0.5) ** 2 / 2]
    error = (0.4 - 2.0) ** 2 / 2
    assert found["watch"].item() == pytest.approx((sum(guess) + (error - guess[0]) / 0.5) / 2, rel=1e-5)
    assert found["watch_imputed"].item() == pytest.approx((error - guess[0]) ** 2 / 0.5 / 2, rel=1e-5)
    gradient = torch.autograd.grad(found["visits"], outputs["visits"], retain_graph=True)[0].flatten()
    rate = [2 * 2.718281828**x for x in (0.1, 0.3)]
    imputed = [2 * 2.718281828**x for x in (0.2, -0.1)]
    wanted = [(rate[0] - imputed[0] + (imputed[0] - 3.0) / 0.5) / 2, (rate[1] - imputed[1]) / 2]
    assert gradient.tolist() == pytest.approx(wanted, rel=1e-4)
    device = IPS(tasks, clip=0.01).losses(outputs, labels)["device"]
    assert found["device"].item() == pytest.approx(device.item(), rel=1e-6)


def test_rows_weigh_and_what_stands_in_other_rows_does_not_matter(pair):
    weight = torch.tensor([2.0, 1.0, 5.0])
    labels = {name: own._replace(weight=weight) for name, own in labels_of(click=[1, 0, NAN], buy=[1, NAN, NAN]).items()}
    outputs = outputs_of(click=[0.5, 0.0, NAN], buy=[0.3, -0.6, NAN], buy_imputed=[0.1, 0.4, float("inf")])
    found = DR(pair).losses(outputs, labels)
    guess = [cross_entropy(0.3, sigmoid(0.1)), cross_entropy(-0.6, sigmoid(0.4))]
    robust = guess[0] + (cross_entropy(0.3, 1) - guess[0]) / sigmoid(0.5)
    assert found["buy"].item() == pytest.approx((2 * robust + guess[1]) / 3, rel=1e-5)
    (found["buy"] + found["buy_imputed"]).backward()
    assert outputs["buy"].grad[2].item() == outputs["buy_imputed"].grad[2].item() == 0


def test_the_joint_loss_is_added_to_the_task_not_to_its_imputing_head(pair):
    outputs, labels = parts()
    alone, both = DR(pair).losses(outputs, labels), DR(pair, joint_weight=0.5).losses(outputs, labels)
    joint = EntireSpace(pair).losses(outputs, labels)["buy"]
    assert both["buy"].item() == pytest.approx((alone["buy"] + 0.5 * joint).item(), rel=1e-6)
    assert both["buy_imputed"] == alone["buy_imputed"]
