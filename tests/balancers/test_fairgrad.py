"""FairGrad: `G a = a^(-1 / alpha)`, from Nash-MTL to equal gains."""

import math

import pytest
import torch
from scipy.optimize import least_squares
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import FairGrad, NashMTL
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(FairGrad, absent_changes_others=True, scale="equivariant", conflict_free=True)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_gains_are_powers_of_weights(alpha, tasks):
    rows = jacobian("conflict", tasks)
    gramian = rows @ rows.T
    a = weigh(FairGrad(NAMES[:tasks], alpha=alpha), rows) / gramian.norm() ** (alpha / (1 + alpha))
    torch.testing.assert_close(gramian @ a, a ** (-1 / alpha), rtol=1e-7, atol=0)
    assert a.min() > 0


def test_two_tasks_with_alpha_one_are_nash_mtl():
    rows = jacobian("conflict", 2)
    torch.testing.assert_close(direction(FairGrad, rows, alpha=1.0), direction(NashMTL, rows, max_norm=0.0))


def test_two_orthogonal_tasks_by_hand():
    rows = torch.diag(torch.tensor([2.0, 0.5])).double()  # l² a = a^(-1/2): a = l^(-4/3), with ||G||^(2/3) before it
    scale = math.hypot(4.0, 0.25) ** (2 / 3)
    assert weigh(FairGrad(["a", "b"]), rows).tolist() == pytest.approx([scale * 2.0 ** (-4 / 3), scale * 0.5 ** (-4 / 3)])


def test_three_tasks_are_those_of_the_authors_solver():
    rows = jacobian("aligned", 3)
    matrix = (rows @ rows.T).numpy()
    theirs = least_squares(
        lambda x: matrix @ x - x**-0.5, [1 / 3] * 3, bounds=(0, float("inf")), xtol=1e-14, ftol=1e-14, gtol=1e-14
    ).x
    ours = weigh(FairGrad(NAMES[:3], alpha=2.0), rows)
    torch.testing.assert_close(ours / ours.sum(), torch.tensor(theirs / theirs.sum()), rtol=1e-4, atol=1e-5)


def test_a_greater_alpha_brings_gains_together():
    rows = jacobian("conflict", 4)
    spread = []
    for alpha in (0.3, 1.0, 3.0, 30.0, 300.0):
        gains = rows @ direction(FairGrad, rows, alpha=alpha)
        spread.append((gains.max() / gains.min()).item())
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < 1.05 < 5 < spread[0]


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf])
def test_mistakes_are_named(alpha):
    with pytest.raises(ConfigError, match=f"`alpha`.*{alpha}"):
        FairGrad(["a"], alpha=alpha)
