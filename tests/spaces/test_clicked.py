"""The baseline: each task by itself, and both predictions of what is conditional."""

import pytest
import torch

from impressions import NAN, cross_entropy, labels_of, outputs_of, sigmoid
from polytask.spaces import Clicked
from polytask.tasks import Binary, Count, Multiclass, Quantile, Regression

TASKS = [
    Binary("click"),
    Binary("buy", given="click"),
    Regression("watch", given="buy", mean=50.0, scale=10.0),
    Count("visits", given="click", mean=2.0),
    Multiclass("device", given="click", classes=("phone", "desktop")),
    Quantile("minutes", given="click", levels=(0.1, 0.9)),
    Binary("hidden", given="click", auxiliary=True),
]


def outputs():
    found = outputs_of(click=[0.5, -1.0], buy=[-0.3, 1.2], watch=[0.1, -2.0], visits=[0.4, 0.0], hidden=[0.1, 0.2])
    return found | {"device": torch.tensor([[0.2, 0.1], [1.0, 0.0]]), "minutes": torch.zeros(2, 2)}


def test_losses_are_the_plain_ones_of_tasks_with_labels(pair):
    found = Clicked(pair).losses(outputs_of(click=[0.5, -1.0], buy=[0.3, 9.0]), labels_of(click=[1, 0], buy=[0, NAN]))
    assert found["click"].item() == pytest.approx((cross_entropy(0.5, 1) + cross_entropy(-1.0, 0)) / 2, rel=1e-6)
    assert found["buy"].item() == pytest.approx(cross_entropy(0.3, 0), rel=1e-6)
    assert list(Clicked(pair).losses(outputs_of(click=[0.5], buy=[0.3]), labels_of(click=[0], buy=[NAN]))) == ["click"]


def test_both_predictions_of_every_kind_on_every_row():
    found = Clicked(TASKS).predict(outputs())
    assert list(found) == [
        *("click", "buy", "click_and_buy", "watch", "click_and_buy_and_watch"),
        *("visits", "click_and_visits", "device", "minutes"),  # several numbers, or no mean: no joint prediction
    ]
    for row, (click, buy, watch, visits) in enumerate([(0.5, -0.3, 51.0, 2 * 1.4918247), (-1.0, 1.2, 30.0, 2.0)]):
        p, q = sigmoid(click), sigmoid(buy)
        assert found["buy"][row].item() == pytest.approx(q, rel=1e-6)
        assert found["click_and_buy"][row].item() == pytest.approx(p * q, rel=1e-6)
        assert found["click_and_buy_and_watch"][row].item() == pytest.approx(p * q * watch, rel=1e-5)
        assert found["click_and_visits"][row].item() == pytest.approx(p * visits, rel=1e-5)
    assert found["watch"].dtype == found["click_and_buy_and_watch"].dtype == torch.float64


def test_only_some_tasks_are_predicted_where_only_they_are_asked_for():
    space = Clicked(TASKS)
    assert list(space.predict(outputs(), [TASKS[6], TASKS[0]])) == ["hidden", "click_and_hidden", "click"]
    assert [joint.name for joint in space.joints()] == ["click_and_buy", "click_and_buy_and_watch", "click_and_visits"]


def test_joint_labels_on_their_own_scale():
    labels = labels_of(click=[1, 1, 0, 1, NAN], buy=[1, 0, NAN, NAN, NAN], watch=[0.5, NAN, NAN, NAN, NAN])
    (joint,) = (joint for joint in Clicked(TASKS).joints() if joint.task.name == "watch")
    found = joint.labels(labels)
    assert found.observed.tolist() == [True, True, True, False, False]  # not bought or not clicked: not watched
    assert found.value[:3].tolist() == [55.0, 0.0, 0.0]
    assert found.count == 3
    assert joint.labels({"click": labels["click"]}) is None
    assert joint.metrics == ("rmse", "mae", "r2")
