"""Nash-MTL: `G a = 1 / a`, what is normalised, and the clip."""

import pytest
import torch
from scipy.optimize import minimize
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import NashMTL
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def unclipped(tasks):
    return NashMTL(tasks, max_norm=0.0)


def test_contract():
    check_balancer(unclipped, absent_changes_others=True, scale="invariant", conflict_free=True)
    check_balancer(NashMTL, absent_changes_others=True, scale="invariant", conflict_free=True)


@pytest.mark.parametrize("kind", ["conflict", "aligned", "lengths"])
@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_each_gain_times_its_weight_is_the_same(kind, tasks):
    rows = jacobian(kind, tasks)
    gramian = rows @ rows.T
    a = weigh(unclipped(NAMES[:tasks]), rows) / gramian.square().sum() ** 0.25
    torch.testing.assert_close(gramian @ a * a, torch.ones(tasks).double(), rtol=1e-6, atol=1e-6)
    assert a.min() > 0


def test_two_tasks_weigh_the_inverse_of_their_lengths_whatever_their_angle():
    rows = torch.tensor([[3.0, 0.0], [-0.6 * 0.5, 0.8 * 0.5]]).double()
    weights = weigh(unclipped(["a", "b"]), rows)
    assert (weights[1] / weights[0]).item() == pytest.approx(6.0)
    a = weights[0].item() / (rows @ rows.T).norm().item() ** 0.5
    assert a == pytest.approx((1 / 3) / (1 - 0.6) ** 0.5)  # 9 a² (1 + cos) = 1


def test_three_tasks_have_the_greatest_product_of_gains():
    rows = jacobian("conflict", 3)
    found = direction(NashMTL, rows)
    basis = torch.linalg.qr(rows.T).Q.T.numpy()

    def short(x):  # of the product of gains, for directions of length 1
        d = x @ basis / (x @ x) ** 0.5
        gains = rows.numpy() @ d
        return 1e9 if gains.min() <= 0 else -sum(torch.tensor(gains).log().tolist())

    best = minimize(
        short, basis @ found.numpy() + 0.05, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    )
    wanted = torch.tensor(best.x @ basis)
    torch.testing.assert_close(found / found.norm(), wanted / wanted.norm(), rtol=1e-4, atol=1e-4)


def test_the_direction_is_clipped_and_never_stretched():
    rows = jacobian("aligned", 3)
    free = direction(NashMTL, rows, max_norm=0.0)
    assert direction(NashMTL, rows, max_norm=0.5).norm().item() == pytest.approx(0.5)
    torch.testing.assert_close(direction(NashMTL, rows, max_norm=0.5) / 0.5, free / free.norm())
    torch.testing.assert_close(direction(NashMTL, 1e-3 * rows, max_norm=1.0), 1e-3 * free)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"`max_norm`.*-1.*0 clips nothing"):
        NashMTL(["a"], max_norm=-1.0)
