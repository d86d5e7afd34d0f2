import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from polytask.errors import DataError
from polytask.fusion import Curve, fit_curves


def test_equals_interpolation():
    at, to = (0.1, 0.2, 0.7, 3.0), (-1.0, 0.0, 0.0, 4.0)
    x = np.random.default_rng(0).uniform(-1, 4, 500)
    x[:4] = at
    assert Curve(at, to)(torch.from_numpy(x)).numpy() == pytest.approx(np.interp(x, at, to), abs=1e-12)


def test_the_gradient_is_the_slope_and_nothing_beyond_the_ends():
    x = torch.tensor([-1.0, 0.05, 0.5, 2.0], requires_grad=True)
    Curve((0.0, 0.1, 1.0), (0.0, 0.5, 1.0))(x).sum().backward()
    assert x.grad.tolist() == pytest.approx([0.0, 5.0, 0.5 / 0.9, 0.0])


def data():
    random = np.random.default_rng(2)
    x = random.beta(1, 4, 800)
    truth = np.sin(5 * x)  # rises, then falls
    return x, truth + 0.2 * random.normal(size=800) + 0.3, random.uniform(0.2, 2, 800)


def test_is_the_least_squares_curve_among_those_that_rise():
    x, y, weight = data()
    curve = fit_curves({"p": x}, {"p": y}, weight, pieces=6)["p"]
    basis = np.stack([np.interp(x, curve.at, row) for row in np.eye(len(curve.at))], axis=1)

    def loss(steps):
        return (weight * (y - basis @ np.cumsum(steps)) ** 2).sum()

    start = np.full(len(curve.at), 0.1)
    other = minimize(loss, start, bounds=[(0, None)] * len(start), method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    own = loss(np.diff(np.r_[0.0, curve.to]))
    assert own <= other.fun * (1 + 1e-8)
    assert np.cumsum(other.x) == pytest.approx(np.array(curve.to), abs=1e-3)
    slack = -2 * basis.T @ (weight * (y - basis @ np.array(curve.to)))  # what more of each value would cost
    multipliers = np.cumsum(slack[::-1])[::-1]  # and of each step
    steps = np.diff(np.r_[0.0, curve.to])
    assert multipliers.min() > -1e-6
    assert np.abs(multipliers * steps).max() < 1e-6
    assert (steps == 0).any()


def test_rows_without_a_label_or_weight_do_not_count():
    x, y, weight = data()
    expected = fit_curves({"p": x[100:]}, {"p": y[100:]}, weight[100:], pieces=5)["p"]
    y[:50], weight[50:100] = np.nan, 0.0
    assert fit_curves({"p": x}, {"p": y}, weight, pieces=5)["p"] == expected


def test_what_cannot_be_fitted_is_named():
    with pytest.raises(DataError, match=r"'p' needs labels"):
        fit_curves({"p": np.ones(3)}, {"q": np.ones(3)})
    with pytest.raises(DataError, match=r"'p' needs two values"):
        fit_curves({"p": np.ones(3)}, {"p": np.ones(3)})
    with pytest.raises(DataError, match=r"'p' needs two values"):
        fit_curves({"p": np.arange(3.0)}, {"p": np.full(3, np.nan)})
