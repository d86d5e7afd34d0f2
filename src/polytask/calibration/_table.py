"""Observed rate against mean prediction, slice by slice."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from polytask.calibration._base import Weights
from polytask.calibration._interval import mean_interval


class SliceCalibration(NamedTuple):
    """One slice.

    Args:
        slice: Its name.
        rows: Number of labelled rows.
        observed: Weighted mean label.
        predicted: Weighted mean prediction.
        ratio: Predicted over observed; infinite where nothing was observed.
        low: Lower end of the ratio's 95 % interval.
        high: Its upper end; infinite where nothing may be the truth.
    """

    slice: str
    rows: int
    observed: float
    predicted: float
    ratio: float
    low: float
    high: float

    @property
    def off(self) -> bool:
        """Whether the interval leaves out 1."""
        return not self.low <= 1 <= self.high


def calibration_table(
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, " n"],
    slices: Shaped[np.ndarray, " n"],
    weight: Weights = None,
) -> list[SliceCalibration]:
    """Is a task right on average in each slice: by device, by country, by decile of the price?

    The interval is that of the observed mean, with predictions taken as they are. Of twenty slices of a perfect model one is
    expected to be `off`. Slices stand in the order of their rows, the largest first.

    Args:
        label: 0 or 1, or an amount, on its own scale; NaN where missing.
        prediction: Probability of 1, or the expected amount.
        slices: Slice of each row (`slices_of`).
        weight: Weight of each row; rows of weight 0 do not count.

    Example:
        >>> for row in calibration_table(np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.2]), np.array(["a", "a", "b"])):
        ...     print(row.slice, row.rows, row.observed, row.predicted, row.ratio)
        a 2 0.5 0.5 1.0
        b 1 0.0 0.2 inf
    """
    weight = np.ones(len(label)) if weight is None else weight.astype(np.float64)
    rows = ~np.isnan(label) & (weight > 0)
    label, prediction, weight, slices = (values[rows] for values in (label, prediction, weight, slices))
    names, place = np.unique(slices, return_inverse=True)
    order = np.argsort(place, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(place, minlength=len(names)))[:-1]) if len(names) else []
    found = [
        _slice(str(name), label[part].astype(np.float64), prediction[part].astype(np.float64), weight[part])
        for name, part in zip(names, parts, strict=True)
    ]
    return sorted(found, key=lambda row: -row.rows)


def _slice(name: str, label: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> SliceCalibration:
    observed, predicted = float(weight @ label / weight.sum()), float(weight @ prediction / weight.sum())
    low, high = mean_interval(label, weight)
    return SliceCalibration(
        name, len(label), observed, predicted, _over(predicted, observed), _over(predicted, high), _over(predicted, low)
    )


def _over(predicted: float, observed: float) -> float:
    return predicted / observed if observed > 0 else math.inf
