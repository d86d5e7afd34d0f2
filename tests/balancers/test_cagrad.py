"""CAGrad: the best of the worst inside the ball, and its three scales."""

import math

import pytest
import torch
from scipy.optimize import minimize
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import CAGrad
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def test_contract():
    check_balancer(CAGrad, absent_changes_others=True, scale="equivariant")


@pytest.mark.parametrize("c", [0.2, 0.4, 1.5])
@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_no_direction_in_the_ball_is_better_for_the_worst_off(tasks, c):
    rows = jacobian("conflict", tasks)
    found, mean = direction(CAGrad, rows, c=c, rescale="none") / tasks, rows.mean(0)
    assert (found - mean).norm().item() == pytest.approx(c * mean.norm().item())
    noise = torch.randn(4000, rows.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = torch.linspace(1e-3, 2.0, 4000, dtype=torch.float64)[:, None] * noise / noise.norm(dim=1, keepdim=True)
    away = found - mean + step * (found - mean).norm()
    others = mean + away * (c * mean.norm() / away.norm(dim=1, keepdim=True)).clamp_max(1.0)
    assert (others @ rows.T).amin(1).max() <= (rows @ found).min() * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_is_the_dual_that_the_authors_solve(tasks):
    rows, c = jacobian("conflict", tasks), 0.4
    matrix, even = (rows @ rows.T).numpy(), [1 / tasks] * tasks
    radius = c * math.sqrt(matrix.mean())
    dual = minimize(
        lambda w: (w @ matrix).mean() + radius * math.sqrt(w @ matrix @ w),
        even,
        bounds=[(0, 1)] * tasks,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    ).x
    added = torch.tensor(dual) @ rows
    wanted = tasks * (rows.mean(0) + radius / added.norm() * added)
    torch.testing.assert_close(direction(CAGrad, rows, c=c, rescale="none"), wanted, rtol=1e-4, atol=1e-5)


def test_without_a_radius_it_is_the_plain_sum():
    assert weigh(CAGrad(NAMES[:3], c=0.0), jacobian("conflict", 3)).tolist() == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(("rescale", "factor"), [("none", 1.0), ("square", 1 / 1.25), ("linear", 1 / 1.5)])
def test_scales(rescale, factor):
    rows = jacobian("conflict", 3)
    torch.testing.assert_close(
        direction(CAGrad, rows, c=0.5, rescale=rescale), factor * direction(CAGrad, rows, c=0.5, rescale="none")
    )
    assert weigh(CAGrad(["a"], c=0.5, rescale=rescale), [[2.0]]).item() == pytest.approx(1.5 * factor)


def test_small_gradients_do_not_stop_it():
    """TorchJD's weights are all zero here, and the authors' solver stops at its start."""
    rows = 1e-5 * jacobian("conflict", 4)
    assert direction(CAGrad, rows).norm() > 0.1 * rows.sum(0).norm()
    assert weigh(CAGrad(NAMES[:4]), rows).std() > 0.01


@pytest.mark.parametrize(
    ("options", "text"), [({"c": -0.1}, "`c`.*-0.1"), ({"c": math.nan}, "`c`.*nan"), ({"rescale": "lin"}, "linear")]
)
def test_mistakes_are_named(options, text):
    with pytest.raises(ConfigError, match=text):
        CAGrad(["a"], **options)
