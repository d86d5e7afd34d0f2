"""Heads of whole chains, their ratio as it comes out, and the penalty on steps in the wrong order."""

import math

import pytest
import torch

from impressions import NAN, cross_entropy, labels_of, outputs_of, sigmoid
from polytask.errors import ConfigError
from polytask.spaces import Division
from polytask.tasks import Binary, Regression


def test_each_head_against_the_label_of_the_whole_way(chain):
    outputs = outputs_of(click=[0.5, -1.0, 0.2], cart=[0.1, 0.4, -0.6], buy=[1.0, -1.0, 0.3], like=[0.0, 0.0, 0.0])
    labels = labels_of(click=[1, 0, 1], cart=[1, NAN, NAN], buy=[0, NAN, NAN], like=[NAN, 1, NAN])
    found = Division(chain).losses(outputs, labels)
    assert found["click"].item() == pytest.approx(
        (cross_entropy(0.5, 1) + cross_entropy(-1.0, 0) + cross_entropy(0.2, 1)) / 3, rel=1e-6
    )
    assert found["cart"].item() == pytest.approx((cross_entropy(0.1, 1) + cross_entropy(0.4, 0)) / 2, rel=1e-6)
    assert found["buy"].item() == pytest.approx((cross_entropy(1.0, 0) + cross_entropy(-1.0, 0)) / 2, rel=1e-6)
    found["buy"].backward()
    assert outputs["click"].grad is None
    assert not Division(chain).couples


def test_the_ratio_may_exceed_one_and_is_not_hidden(chain):
    outputs = outputs_of(click=[-2.0, -40.0], cart=[-1.0, -41.0], buy=[-3.0, -39.0], like=[0.0, 0.0])
    found = Division(chain).predict(outputs)
    assert found["cart"].tolist() == pytest.approx([sigmoid(-1.0) / sigmoid(-2.0), math.exp(-1.0)], rel=1e-5)
    assert found["cart"][0].item() > 1
    assert found["buy"].tolist() == pytest.approx([sigmoid(-3.0) / sigmoid(-1.0), math.exp(2.0)], rel=1e-5)
    assert found["click_and_cart_and_buy"].tolist() == pytest.approx([sigmoid(-3.0), math.exp(-39.0)], rel=1e-5)


def test_what_hangs_on_a_chain_is_multiplied_by_the_head_of_its_step():
    tasks = [Binary("click"), Binary("buy", given="click"), Regression("paid", given="buy", mean=7.0)]
    found = Division(tasks).predict(outputs_of(click=[0.5], buy=[-1.0], paid=[2.0]))
    assert found["click_and_buy_and_paid"].item() == pytest.approx(sigmoid(-1.0) * 9.0, rel=1e-6)


def test_the_penalty_is_of_steps_that_are_likelier_than_those_before(chain):
    """AITM's calibrator: alpha / n times the sum over steps of max(later - earlier, 0)."""
    outputs = outputs_of(click=[0.0, -3.0], cart=[1.0, -2.0], buy=[0.5, -4.0], like=[9.0, 9.0])
    found = Division(chain, order_penalty=0.6).penalty(outputs)
    expected = 0.6 * ((sigmoid(1.0) - sigmoid(0.0)) + (sigmoid(-2.0) - sigmoid(-3.0))) / 2
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert outputs["click"].grad.flatten().lt(0).all()  # the earlier step goes up
    assert outputs["cart"].grad.flatten().gt(0).all()
    assert not outputs["buy"].grad.any()
    assert Division(chain).penalty(outputs) is None


def test_heads_start_at_the_rate_of_the_whole_way():
    tasks = [Binary("click", base_rate=0.2), Binary("buy", given="click", base_rate=0.1), Regression("paid", given="buy")]
    found = Division(tasks)
    assert [task.base_rate for task in found.tasks[:2]] == pytest.approx([0.2, 0.02])
    assert found.tasks[1].initial_bias() == pytest.approx((math.log(0.02 / 0.98),))
    assert found.tasks[2] is tasks[2]
    assert found.declared[1].base_rate == 0.1


def test_a_batch_without_clicks_and_one_without_labels(pair):
    outputs = outputs_of(click=[0.1], buy=[0.5])
    assert Division(pair).losses(outputs, labels_of(click=[0], buy=[NAN]))["buy"].item() == pytest.approx(cross_entropy(0.5, 0))
    assert list(Division(pair).losses(outputs, labels_of(click=[1], buy=[NAN]))) == ["click"]
    with pytest.raises(ConfigError, match="order_penalty"):
        Division(pair, order_penalty=-1.0)


def test_rows_weigh(pair):
    labels = {name: own._replace(weight=torch.tensor([3.0, 1.0])) for name, own in labels_of(click=[1, 0], buy=[1, NAN]).items()}
    found = Division(pair).losses(outputs_of(click=[0.1, 0.2], buy=[0.5, -0.5]), labels)
    assert found["buy"].item() == pytest.approx((3 * cross_entropy(0.5, 1) + cross_entropy(-0.5, 0)) / 4, rel=1e-6)
