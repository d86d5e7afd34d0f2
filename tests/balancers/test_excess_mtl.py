"""ExcessMTL: the published step, TorchJD, no unit, no weight lost."""

import pytest
import torch
from featured import NAMES, Noisy, step

from polytask.balancers import ExcessMTL
from polytask.errors import ConfigError
from polytask.testing import check_balancer

THREE = NAMES[:3]


def test_contract():
    check_balancer(ExcessMTL, absent_changes_others=True)


def test_a_step_by_hand():
    """Gradients of a (3, 4), then (3, 0); of b (1, 0), then (0, 2)."""
    balancer = ExcessMTL(["a", "b"], lr=0.7)
    assert step(balancer, [[3.0, 4.0], [1.0, 0.0]]).tolist() == pytest.approx([1.0, 1.0])  # E(1) = (3 + 4, 1)
    a, b = (9 / 18**0.5) / 7, (4 / 4**0.5) / 1
    wanted = 2 * torch.softmax(0.7 * torch.tensor([a, b]), 0)
    assert step(balancer, [[3.0, 0.0], [0.0, 2.0]]).tolist() == pytest.approx(wanted.tolist())


def test_is_k_times_torchjd_after_one_step_of_warm_up():
    """Its first step without warm-up moves the weights by raw numbers; with one step it is as the official code."""
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    weighting, balancer, noisy = aggregation.ExcessMTLWeighting(0.3, n_warmup_steps=1), ExcessMTL(THREE, lr=0.3), Noisy()
    for _ in range(6):
        rows = noisy.draw()
        torch.testing.assert_close(step(balancer, rows), 3 * weighting(rows), rtol=1e-4, atol=1e-5)


def test_noise_that_stays_weighs_less_than_what_can_be_learned():
    """Alternating gradients have an excess that falls as the root of time; one that grows is learned."""
    balancer = ExcessMTL(["noise", "learns"], lr=0.1)
    for number in range(1, 30):
        found = step(balancer, [[(-1.0) ** number, 0.0], [0.0, float(number)]])
    assert found[1] > 1.9


def test_a_weight_is_not_lost_to_rounding():
    balancer = ExcessMTL(["a", "b"], lr=10.0)
    for _ in range(60):  # b falls by e^-200 or more
        found = step(balancer, [[1.0, 1.0], [0.01, 0.0]] if balancer.first.value[0] > 0 else [[1e-3, 0.0], [1.0, 0.0]])
    assert found[1] == 0
    assert balancer.logits.value.isfinite().all()
    for number in range(200):
        found = step(balancer, [[1e-9, 0.0], [10.0 * (number + 1), 0.0]])
    assert found[1] > 1.9


def test_a_task_of_zero_gradient_at_first_does_not_take_all():
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    weighting, balancer = aggregation.ExcessMTLWeighting(0.01, n_warmup_steps=1), ExcessMTL(["a", "b"], lr=0.01)
    for rows in ([[1.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.5, 0.0]]):
        found, official = step(balancer, rows), weighting(torch.tensor(rows, dtype=torch.float64))
    assert official[1] > 0.99
    assert found.tolist() == pytest.approx([1.0, 1.0], abs=0.01)


def test_a_task_alone_is_plain():
    balancer = ExcessMTL(["a"])
    assert [step(balancer, torch.tensor([[3.0, -4.0, 1.0]])).item() for _ in range(3)] == pytest.approx([1.0] * 3)


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ConfigError, match="lr"):
        ExcessMTL(THREE, lr=0.0)
