"""What a reliability diagram shows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from polytask.calibration._base import Weights, counted
from polytask.calibration._interval import mean_interval
from polytask.metrics import equal_mass_bins


class Reliability(NamedTuple):
    """One bin of predictions.

    Args:
        rows: Number of rows.
        mass: Their share of the weight.
        predicted: Mean prediction.
        observed: Mean label.
        low: Lower end of its 95 % interval.
        high: Its upper end.
    """

    rows: int
    mass: float
    predicted: float
    observed: float
    low: float
    high: float


def reliability(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Weights = None, *, num_bins: int = 15
) -> list[Reliability]:
    """Bins of equal mass of a binary task, each with mean prediction, observed rate and its 95 % interval.

    With 15 bins, `sum_b mass_b |predicted_b - observed_b|` is the metric `calibration_error`.

    Args:
        label: 0 or 1.
        prediction: Probability of 1.
        weight: Weight of each row; rows of weight 0 do not count.
        num_bins: Number of bins; equal predictions share one, so there may be fewer.

    Raises:
        DataError: If there is no row, or a prediction is no probability.

    Example:
        >>> [bin.predicted for bin in reliability(np.array([0.0, 1.0]), np.array([0.2, 0.6]), num_bins=2)]
        [0.2, 0.6]
    """
    label, prediction, weight = counted(label, prediction, weight)
    bins, total = equal_mass_bins(prediction, weight, num_bins), float(weight.sum())
    return [_bin(label[bins == number], prediction[bins == number], weight[bins == number], total) for number in np.unique(bins)]


def _bin(label: np.ndarray, prediction: np.ndarray, weight: np.ndarray, total: float) -> Reliability:
    mass = float(weight.sum())
    means = float(weight @ prediction) / mass, float(weight @ label) / mass
    return Reliability(len(label), mass / total, *means, *mean_interval(label, weight))
