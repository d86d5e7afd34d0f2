"""Distance between predicted probabilities and observed rates."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import NO_ROW, Undefined, weights_of
from polytask.metrics._equal_mass import equal_mass_bins

_BINS = 15  # as Guo et al. (2017)


def calibration_error(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Expected calibration error: mean over 15 bins of equal mass of |mean prediction - mean label|.

    Equal predictions share a bin, so the value does not depend on the order of rows. With few rows a bin it is biased upwards:
    under perfect calibration expect about sqrt(15 p (1 - p) / n) times 0.8.

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), eq. 3.
    Differs: bins of equal mass (Nixon et al. 2019), not equal width: with a base rate of 1% the latter is one bin.

    Args:
        label: 0 or 1.
        prediction: Probability of 1.
        weight: Weight of each row.

    Example:
        >>> calibration_error(np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.5, 0.5]))
        0.25
    """
    weight = weights_of(label, weight)
    total = float(weight.sum())
    if total <= 0:
        return Undefined(NO_ROW)
    bins = equal_mass_bins(prediction, weight, _BINS)
    gaps = np.bincount(bins, weight * (prediction.astype(np.float64) - label))
    return float(np.abs(gaps).sum()) / total
