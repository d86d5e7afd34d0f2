import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from polytask.batch import Labels
from polytask.tasks import Regression


def test_predictions_are_on_the_labels_own_scale(fit):
    values = [10.0, 30.0, 80.0, None]
    task = fit(Regression("price"), values)
    encoded = task.encode(pa.array(values))
    assert encoded.dtype == np.float32
    assert np.nanmean(encoded) == pytest.approx(0, abs=1e-6)
    assert np.nanstd(encoded) == pytest.approx(1, rel=1e-6)
    assert task.predict(torch.from_numpy(encoded[:3, None])).tolist() == pytest.approx(values[:3], rel=1e-6)
    assert task.decode(encoded[:3]).tolist() == pytest.approx(values[:3], rel=1e-6)
    assert task.initial_bias() == (0.0,)


def test_units_of_the_label_change_nothing_but_units(fit):
    values = np.random.default_rng(0).gamma(2.0, 3.0, 50)
    small, large = fit(Regression("y"), values), fit(Regression("y"), values * 1000)
    np.testing.assert_allclose(small.encode(pa.array(values)), large.encode(pa.array(values * 1000)), rtol=1e-5, atol=1e-6)
    output = torch.linspace(-1, 1, 50).unsqueeze(1)
    torch.testing.assert_close(small.predict(output) * 1000, large.predict(output))


def test_the_mean_of_the_loss_at_the_mean_is_one_half(fit):
    values = [10.0, 30.0, 80.0]
    task = fit(Regression("y"), values)
    loss = task.loss(torch.zeros(3, 1), Labels.of(torch.from_numpy(task.encode(pa.array(values)))))
    assert loss.item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (["tall", "small"], ["'height'", "'tall' in row 0", "multiclass"]),
        ([2.5, 2.5], ["2.5 in all 2 labelled rows"]),
        ([None], ["none in 1 rows"]),
    ],
)
def test_refusals_of_fitting(fit, refused, values, parts):
    refused(lambda: fit(Regression("height"), pa.array(values)), *parts)


def test_refusals_of_encoding(refused):
    refused(lambda: Regression("y").encode(pa.array([1.0, math.inf])), "'y'", "inf in row 1", "finite")
    refused(lambda: Regression("y").encode(pa.array([None, "abc"])), "'abc' in row 1")
