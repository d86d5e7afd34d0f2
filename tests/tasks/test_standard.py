import numpy as np
import pyarrow as pa
import pytest
import torch

from polytask.tasks import LabelSummary
from polytask.tasks._standard import moments, own_scale, own_scale_labels, standardised


def test_round_trip_far_from_zero():
    labels = 1.7e9 + np.arange(5) * 3.0
    summary = LabelSummary("y")
    summary.update(pa.array(labels))
    mean, scale = moments(summary)
    z = standardised(labels, mean, scale)
    assert z.dtype == np.float32
    assert z.std() == pytest.approx(1)
    np.testing.assert_allclose(own_scale_labels(z, mean, scale), labels, rtol=0, atol=1e-5)
    np.testing.assert_allclose(own_scale(torch.from_numpy(z), mean, scale).numpy(), labels, rtol=0, atol=1e-5)


def test_a_spread_that_overflows_is_refused(refused):
    summary = LabelSummary("y")
    with np.errstate(over="ignore"):
        summary.update(pa.array([-1e300, 1e300]))
    refused(lambda: moments(summary), "'y'", "inf", "1e+300", "Rescale")
