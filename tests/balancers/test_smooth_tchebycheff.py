"""A smooth maximum of losses against their references."""

import math

import pytest
import torch
from leaves import leaves, weights

from polytask.balancers import SmoothTchebycheff
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(SmoothTchebycheff, single_task_is_plain=False)  # warming up

    def short(tasks):
        return SmoothTchebycheff(tasks, mu=0.3, warmup_epochs=1)

    check_balancer(short, single_task_is_plain=False, absent_changes_others=True, scale="invariant")


def expected(losses, nadir, mu):
    """`m softmax(log(L / nadir) / mu) / L`."""
    powers = {name: (loss / nadir[name]) ** (1 / mu) for name, loss in losses.items()}
    return {name: len(losses) * power / sum(powers.values()) / losses[name] for name, power in powers.items()}


@pytest.mark.parametrize("mu", [0.1, 1.0])
def test_warms_up_with_logarithms_then_takes_the_means_of_the_last_warm_epoch(mu):
    balancer = SmoothTchebycheff(["a", "b", "c"], mu=mu, warmup_epochs=2)
    for epoch in ([{"a": 9.0, "b": 9.0, "c": 9.0}], [{"a": 1.0, "b": 4.0, "c": 0.5}, {"a": 3.0, "b": 4.0, "c": 0.1}]):
        for batch in epoch:
            assert weights(balancer, **batch) == pytest.approx({name: 1 / loss for name, loss in batch.items()})
        balancer.after_epoch()
    nadir = {"a": 2.0, "b": 4.0, "c": 0.3}
    for _ in range(2):  # later epochs change no reference
        now = {"c": 0.25, "b": 5.0, "a": 1.5}
        assert weights(balancer, **now) == pytest.approx(expected(now, nadir, mu), rel=1e-4)
        balancer.after_epoch()


def test_is_k_times_torchjd_on_logarithms():
    scalarization = pytest.importorskip("torchjd.scalarization", reason="TorchJD is not installed")
    balancer = SmoothTchebycheff(["a", "b"], mu=0.2, warmup_epochs=1)
    weights(balancer, a=2.0, b=30.0)
    balancer.after_epoch()
    losses = torch.tensor([1.9, 21.0], requires_grad=True)
    other = scalarization.STCH(0.2, weights=torch.ones(2))
    (2 * other(torch.log(losses / torch.tensor([2.0, 30.0])))).backward()
    assert list(weights(balancer, a=1.9, b=21.0).values()) == pytest.approx(losses.grad.tolist(), rel=1e-4)


def test_a_small_mu_trains_the_worst_task_only_without_overflow():
    balancer = SmoothTchebycheff(["a", "b"], mu=1e-4, warmup_epochs=1)
    weights(balancer, a=1.0, b=1.0)
    balancer.after_epoch()
    assert weights(balancer, a=50.0, b=51.0) == pytest.approx({"a": 0.0, "b": 2 / 51}, abs=1e-6)


def test_a_task_first_seen_later_gets_its_reference_then():
    balancer = SmoothTchebycheff(["a", "b"], mu=0.5, warmup_epochs=1)
    weights(balancer, a=2.0)
    balancer.after_epoch()
    now = {"a": 1.0, "b": 8.0}
    assert weights(balancer, **now) == pytest.approx(expected(now, {"a": 2.0, "b": 8.0}, 0.5))
    weights(balancer, b=4.0)
    balancer.after_epoch()
    assert weights(balancer, **now) == pytest.approx(expected(now, {"a": 2.0, "b": 6.0}, 0.5))


@pytest.mark.parametrize("tiny", [0.0, -3.0])
def test_a_loss_under_the_floor_counts_as_the_floor_and_is_minimised(tiny):
    balancer = SmoothTchebycheff(["a", "b"], warmup_epochs=1, floor=0.01)
    assert weights(balancer, a=tiny, b=2.0) == pytest.approx({"a": 100.0, "b": 0.5})
    balancer.after_epoch()
    assert balancer.nadir.at(["a", "b"]).tolist() == pytest.approx([0.01, 2.0])
    assert weights(balancer, a=tiny, b=2.0) == pytest.approx({"a": 100.0, "b": 0.5})


def test_a_loss_that_is_no_number_is_left_out():
    balancer = SmoothTchebycheff(["a", "b", "c"], warmup_epochs=1)
    balancer.backward(leaves(a=1.0, b=2.0, c=math.nan))
    balancer.after_epoch()
    found = balancer.backward(leaves(a=0.5, b=2.0, c=math.inf)).weights
    now = {"a": 0.5, "b": 2.0}
    assert {name: found[name].item() for name in now} == pytest.approx(expected(now, {"a": 1.0, "b": 2.0}, 1.0))


def test_mistakes_are_named():
    for option, value in (("mu", 0.0), ("warmup_epochs", 0), ("floor", -1.0)):
        with pytest.raises(ConfigError, match=f"`{option}`.*{value}"):
            SmoothTchebycheff(["a"], **{option: value})
