"""Area under the ROC curve."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined, weights_of


def auc(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Chance that a random positive row is ranked above a random negative one; ties count half.

    Exact, in one sort. It does not see calibration: use `log_loss` or `calibration_error` beside it.

    Source: Fawcett, An introduction to ROC analysis (Pattern Recognition Letters 2006), section 7.

    Args:
        label: 0 or 1.
        prediction: Anything that rises with the chance of 1.
        weight: Weight of each row.

    Example:
        >>> auc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3, 0.4]))
        0.75
    """
    weight = weights_of(label, weight)
    order = np.argsort(prediction)
    prediction = prediction[order]
    positive = (weight * label)[order]
    negative = (weight * (1 - label))[order]
    positives, negatives = float(positive.sum()), float(negative.sum())
    if positives <= 0 or negatives <= 0:
        return Undefined("only one class occurs")
    starts = np.flatnonzero(np.r_[True, prediction[1:] != prediction[:-1]])  # one group of rows for each distinct prediction
    positive, negative = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2)) / (positives * negatives)
