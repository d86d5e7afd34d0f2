import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polytask.errors import ConfigError
from polytask.tasks import Quantile, prediction_columns

levels = st.lists(st.integers(1, 99), min_size=1, max_size=7, unique=True).map(lambda part: tuple(sorted(p / 100 for p in part)))


@given(levels, st.data())
def test_quantiles_never_cross(levels, data):
    task = Quantile("y", levels=levels, mean=1e6, scale=1e-2)
    output = data.draw(st.lists(st.floats(-1e4, 1e4, width=32), min_size=len(levels), max_size=len(levels)))
    prediction = task.predict(torch.tensor([output], dtype=torch.float32))
    assert prediction.shape == (1, len(levels))
    assert (prediction.diff(dim=1) >= 0).all()


def test_the_first_output_is_the_quantile_nearest_the_median():
    task = Quantile("y", levels=(0.1, 0.4, 0.9), mean=5.0, scale=2.0)
    prediction = task.predict(torch.tensor([[1.5, 0.0, 0.0]]))
    assert prediction[0].tolist() == pytest.approx([8 - 2 * math.log(2), 8.0, 8 + 2 * math.log(2)])


def test_first_prediction_is_the_normal_distribution(fit):
    values = np.random.default_rng(0).normal(50, 10, 20_000)
    task = fit(Quantile("y", levels=(0.05, 0.5, 0.95)), values)
    found = task.predict(torch.tensor([task.initial_bias()]))[0].tolist()
    assert found == pytest.approx(np.quantile(values, [0.05, 0.5, 0.95]), rel=0.02)


def test_round_trip_and_columns(fit):
    task = fit(Quantile("minutes", levels=(0.025, 0.5)), [1.0, 5.0, None])
    encoded = task.encode(pa.array([1.0, 5.0, None]))
    assert task.decode(encoded[:2]).tolist() == pytest.approx([1.0, 5.0])
    assert np.isnan(encoded[2])
    assert prediction_columns(task) == ("minutes_q2.5", "minutes_q50")


@pytest.mark.parametrize("levels", [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.9, 0.1), (math.nan,)])
def test_levels_that_do_not_rise_inside_zero_and_one_are_refused(levels):
    with pytest.raises(ConfigError, match="'y' must rise"):
        Quantile("y", levels=levels)


def test_refusals(fit, refused):
    refused(lambda: fit(Quantile("y"), ["a", "b"]), "'a' in row 0")
    refused(lambda: fit(Quantile("y"), [4, 4]), "4 in all 2")
    refused(lambda: Quantile("y").encode(pa.array([-math.inf])), "-inf in row 0")
