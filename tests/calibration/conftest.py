"""Rows of every test of a calibration."""

import numpy as np
import pytest
from miscalibrated import wrong


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def rows(request):
    found = wrong(3000, slope=0.6, offset=-0.8, dtype=request.param)
    return found._replace(prediction=found.prediction.round(3).clip(0.001, 0.999))
