import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from polytask.errors import ConfigError
from polytask.tasks import Value

AMOUNTS = [0.0, 20.0, 0.0, None, 500.0, 0.0, 3.0, 0.0]


def test_fitting_takes_moments_of_the_logarithm_of_amounts(fit):
    task = fit(Value("spend"), AMOUNTS[:3], AMOUNTS[3:])
    logarithms = np.log([20.0, 500.0, 3.0])
    assert task.share == pytest.approx(3 / 7)
    assert task.log_mean == pytest.approx(logarithms.mean())
    assert task.log_scale == pytest.approx(logarithms.std())
    encoded = task.encode(pa.array(AMOUNTS))
    np.testing.assert_allclose(np.log(encoded[[1, 4, 6]]).std(), 1, rtol=1e-6)
    np.testing.assert_allclose(task.decode(encoded), [math.nan if y is None else y for y in AMOUNTS], rtol=1e-5)


def test_prediction_is_the_mean_of_the_distribution_it_was_trained_as():
    """Drawn from the distribution that the output means, on the labels' own scale."""
    task = Value("spend", share=0.5, log_mean=3.0, log_scale=0.5)
    output, random = torch.tensor([[0.4, 0.7, 0.2]]), np.random.default_rng(0)
    chance, sigma = 1 / (1 + math.exp(-0.4)), 0.1 + math.log1p(math.exp(0.2))
    drawn = (random.uniform(size=400_000) < chance) * np.exp(3.0 + 0.5 * random.normal(0.7, sigma, 400_000))
    assert task.predict(output).item() == pytest.approx(drawn.mean(), rel=0.01)


def test_the_outputs_of_known_distributions_are_found(fit):
    """Two groups with their own share, place and spread: the least loss has the outputs that made the labels."""
    random = np.random.default_rng(1)
    group, rows = np.repeat([0, 1], 40_000), 80_000
    share, place, spread = np.array([0.1, 0.4])[group], np.array([2.0, 4.0])[group], np.array([0.5, 1.2])[group]
    amounts = np.where(random.uniform(size=rows) < share, np.exp(random.normal(place, spread)), 0.0)
    task = fit(Value("spend"), amounts)
    label = torch.from_numpy(task.encode(pa.array(amounts))).double()
    output = torch.tensor([task.initial_bias()] * 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([output], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = task.row_loss(output[group], label).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = [0.1 * math.exp(2.0 + 0.125), 0.4 * math.exp(4.0 + 0.72)]
    np.testing.assert_allclose(task.predict(output.detach()), expected, rtol=0.06)


def test_equal_amounts_have_a_scale(fit):
    task = fit(Value("fee"), [0.0, 5.0, 5.0])
    assert task.log_scale == 1.0
    assert task.decode(task.encode(pa.array([5.0])))[0] == pytest.approx(5.0)


def test_no_output_overflows():
    task = Value("y", log_mean=9.0, log_scale=2.0)
    assert task.predict(torch.tensor([[1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]])).isfinite().all()
    assert np.isfinite(task.encode(pa.array([1e300, 1e-300]))).all()


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([0.0, -2.0, 1.0], ["'n'", "-2.0", "amount from 0 up"]),
        ([3.0, 4.0], ["zeros beside amounts", "from 3 to 4", "regression"]),
        ([0.0, 0.0], ["0.0 in all 2"]),
        (["a", "b"], ["'a' in row 0"]),
    ],
)
def test_refusals_of_fitting(fit, refused, values, parts):
    refused(lambda: fit(Value("n"), values), *parts)


def test_refusals_of_encoding(refused):
    refused(lambda: Value("n").encode(pa.array([1.0, None, -3.0])), "-3.0 in row 2")


@pytest.mark.parametrize(("options", "words"), [({"share": 1.0}, "share of task 'y'"), ({"log_scale": 0.0}, "log_scale")])
def test_fields_that_cannot_be_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Value("y", **options)
