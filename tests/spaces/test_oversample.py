"""Copies of positives as an exact weight."""

import pytest
import torch

from impressions import NAN, labels_of, outputs_of
from polytask.errors import ConfigError
from polytask.spaces import Clicked, Oversample
from polytask.tasks import Binary, Regression


def test_a_weight_is_so_many_copies(pair):
    """The same as `clicked` on rows of which the bought ones are there three times."""
    click, buy = [0.5, -1.0, 0.2, 0.3], [0.7, -0.4, 1.1, 0.0]
    found = Oversample(pair, times=3.0).losses(
        outputs_of(click=click, buy=buy), labels_of(click=[1, 1, 1, 0], buy=[1, 0, 1, NAN])
    )
    copied = [0, 0, 0, 1, 2, 2, 2, 3]
    labels = labels_of(click=[[1, 1, 1, 0][i] for i in copied], buy=[[1, 0, 1, NAN][i] for i in copied])
    expected = Clicked(pair).losses(outputs_of(click=[click[i] for i in copied], buy=[buy[i] for i in copied]), labels)
    assert found["buy"].item() == pytest.approx(expected["buy"].item(), rel=1e-6)
    plain = Clicked(pair).losses(outputs_of(click=click, buy=buy), labels_of(click=[1, 1, 1, 0], buy=[1, 0, 1, NAN]))
    assert found["click"].item() == plain["click"].item()  # clicks are not copied
    assert found["buy"].item() != pytest.approx(plain["buy"].item(), rel=1e-3)


def test_the_odds_that_fit_best_are_so_many_times_as_large(pair):
    labels = labels_of(click=[1.0] * 10, buy=[1.0] * 2 + [0.0] * 8)
    logit = torch.logit(torch.tensor(5 * 2 / (5 * 2 + 8))).requires_grad_()
    Oversample(pair, times=5.0).losses({"click": torch.zeros(10, 1), "buy": logit.expand(10, 1)}, labels)["buy"].backward()
    assert logit.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_row_weights_count_and_other_kinds_do_not_change():
    tasks = [Binary("click"), Binary("buy", given="click"), Regression("watch", given="click")]
    labels = labels_of(click=[1, 1], buy=[1, 0], watch=[1.0, 3.0])
    weighed = labels | {"buy": labels["buy"]._replace(weight=torch.tensor([1.0, 2.0]))}
    found = Oversample(tasks, times=4.0).losses(outputs_of(click=[0, 0], buy=[0.0, 1.0], watch=[0.0, 0.0]), weighed)
    assert found["buy"].item() == pytest.approx((4 * 0.693147 + 2 * 1.313262) / 6, rel=1e-5)
    assert found["watch"].item() == pytest.approx((0.5 + 4.5) / 2)


def test_fewer_copies_than_one_are_refused(pair):
    with pytest.raises(ConfigError, match="at least 1"):
        Oversample(pair, times=0.5)
