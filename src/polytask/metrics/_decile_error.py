"""Distance between predicted and observed means in tenths of the rows."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import NO_ROW, Undefined, weights_of
from polytask.metrics._equal_mass import equal_mass_bins

_BINS = 10


def decile_error(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean over ten bins of equal mass of how far the mean prediction is from the mean label, as a share of the latter.

    Bins without any label above 0 have no ratio and are left out. With few amounts a bin it is biased upwards.

    Source: Wang, Liu & Miao, A Deep Probabilistic Model for Customer Lifetime Value Prediction (2019), decile-level mean
    absolute percentage error; checked against the code that its authors published, the paper was not at hand.
    Differs: equal predictions share a bin.

    Args:
        label: Amount, not below 0.
        prediction: Expected amount.
        weight: Weight of each row.

    Example:
        >>> decile_error(np.array([1.0, 4.0]), np.array([2.0, 5.0]))
        0.625
    """
    weight = weights_of(label, weight)
    if weight.sum() <= 0:
        return Undefined(NO_ROW)
    bins = equal_mass_bins(prediction, weight, _BINS)
    observed, predicted = (np.bincount(bins, weight * values) for values in (label, prediction))
    some = observed > 0
    return float(np.mean(np.abs(predicted[some] / observed[some] - 1))) if some.any() else Undefined("no positive label occurs")
