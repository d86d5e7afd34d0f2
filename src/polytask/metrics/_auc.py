"""Area under the ROC curve."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined

_ONE_CLASS = "only one class occurs"


def auc(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Chance that a random positive row is ranked above a random negative one; ties count half.

    Exact; it costs a sort. It does not see calibration: use `log_loss` or `calibration_error` beside it.

    Source: Fawcett, An introduction to ROC analysis (Pattern Recognition Letters 2006), section 7.

    Args:
        label: 0 or 1.
        prediction: Anything that rises with the chance of 1.
        weight: Weight of each row.

    Example:
        >>> auc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3, 0.4]))
        0.75
    """
    if weight is None:
        return _unweighted(prediction[label == 1], prediction[label != 1])
    order = np.argsort(prediction)
    prediction = prediction[order]
    weight = weight.astype(np.float64)
    positive, negative = (weight * label)[order], (weight * (1 - label))[order]
    positives, negatives = float(positive.sum()), float(negative.sum())
    if positives <= 0 or negatives <= 0:
        return Undefined(_ONE_CLASS)
    starts = np.flatnonzero(np.r_[True, prediction[1:] != prediction[:-1]])  # one group of rows for each distinct prediction
    positive, negative = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2)) / (positives * negatives)


def _unweighted(positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " m"]) -> float:
    """Two sorts of values and whole numbers: 2 to 4 times as fast as the sort of an index that weights need."""
    if not len(positive) or not len(negative):
        return Undefined(_ONE_CLASS)
    positive, negative = np.sort(positive), np.sort(negative)
    twice = np.searchsorted(negative, positive, "left").sum() + np.searchsorted(negative, positive, "right").sum()
    return float(twice) / 2 / (len(positive) * len(negative))
