"""Rows that are kept look like all rows; what keeps them is not trained by it."""

import pytest
import torch

from impressions import NAN, labels_of, outputs_of
from polytask.batch import Labels
from polytask.errors import ConfigError
from polytask.spaces import SNIPS, Rejection
from polytask.tasks import Binary, Regression


def test_kept_with_the_inverse_of_the_probability(pair):
    outputs = outputs_of(click=[0.0, -2.0, -6.0, 40.0], buy=[0.0] * 4)
    keep = Rejection(pair, clip=0.1).keep_probability(outputs, "click")
    expected = [0.1 / 0.5, 0.1 / 0.1192029, 1.0, 0.1]
    assert keep.tolist() == pytest.approx(expected, rel=1e-5)
    assert not keep.requires_grad


def test_of_a_chain_the_probability_is_the_product(chain):
    outputs = outputs_of(click=[0.0], cart=[-1.0], buy=[3.0], like=[0.0])
    found = Rejection(chain, clip=0.01).keep_probability(outputs, "cart")
    assert found.item() == pytest.approx(0.01 / (0.5 * 0.2689414), rel=1e-5)


def test_what_is_kept_is_a_sample_of_all_rows(pair):
    """Many rows of two kinds: the share of either among kept rows is the share among impressions."""
    torch.manual_seed(0)
    n = 40_000
    kind = torch.arange(n) % 4 == 0  # a quarter of the rows is clicked four times as often
    q = torch.where(kind, 0.8, 0.2)
    click = (torch.rand(n) < q).float()
    buy = torch.where(kind, 1.0, 0.0)
    labels = {"click": Labels.of(click), "buy": Labels.of(torch.where(click == 1, buy, NAN))}
    outputs = {"click": torch.logit(q).unsqueeze(1), "buy": torch.full((n, 1), -1.0)}
    found = Rejection(pair, clip=0.2).losses(outputs, labels)["buy"].item()
    everywhere = 0.25 * 1.3132617 + 0.75 * 0.3132617
    assert found == pytest.approx(everywhere, abs=0.02)
    assert found == pytest.approx(SNIPS(pair, clip=0.2).losses(outputs, labels)["buy"].item(), abs=0.02)
    clicked = (click * buy).sum() / click.sum()
    assert clicked.item() > 0.5  # among clicked rows it would be another


def test_it_is_drawn_anew_and_by_the_seed(pair):
    labels = labels_of(click=[1.0] * 64, buy=[float(i % 2) for i in range(64)])
    outputs = {"click": torch.zeros(64, 1), "buy": torch.linspace(-2, 2, 64).unsqueeze(1)}
    space = Rejection(pair)
    torch.manual_seed(1)
    first, second = (space.losses(outputs, labels)["buy"] for _ in range(2))
    torch.manual_seed(1)
    assert space.losses(outputs, labels)["buy"] == first != second


def test_the_same_rows_are_kept_for_all_tasks_behind_one_click():
    tasks = [Binary("click"), Regression("watch", given="click"), Regression("again", given="click")]
    labels = labels_of(click=[1.0] * 50, watch=list(range(50)), again=list(range(50)))
    zeros = torch.zeros(50, 1)
    found = Rejection(tasks).losses({"click": zeros, "watch": zeros, "again": zeros}, labels)
    assert found["watch"] == found["again"] > 0


def test_the_click_is_not_trained_by_it(pair):
    outputs = outputs_of(click=[-5.0] * 20, buy=[0.3] * 20)
    losses = Rejection(pair).losses(outputs, labels_of(click=[1.0] * 20, buy=[1.0] * 20))
    losses["buy"].backward()
    assert outputs["click"].grad is None
    assert outputs["buy"].grad.any()


def test_nothing_is_drawn_without_tasks_behind_a_click(pair):
    state = torch.get_rng_state()
    Rejection(pair).losses(outputs_of(click=[0.1], buy=[0.0]), labels_of(click=[0], buy=[NAN]))
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ConfigError, match="`clip`"):
        Rejection(pair, clip=0.0)
