"""Correlation of ranks."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined, weights_of


def spearman(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Correlation of the ranks of labels and predictions: 1 is the same order, whatever the scale.

    Ties share the mean rank. Weights count rows in the correlation, not in the ranks.

    Source: Spearman, The Proof and Measurement of Association between Two Things (1904); ranks by SciPy.

    Args:
        label: Label on its own scale.
        prediction: Anything that rises with the label.
        weight: Weight of each row.

    Example:
        >>> round(spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 27.0])), 6)
        1.0
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - slow to import

    weight = weights_of(label, weight)
    total = float(weight.sum())
    if total <= 0:
        return Undefined("no observed row")
    x, y = rankdata(label), rankdata(prediction)
    x, y = x - weight @ x / total, y - weight @ y / total
    scale = float(np.sqrt((weight @ (x * x)) * (weight @ (y * y))))
    return float(weight @ (x * y)) / scale if scale > 0 else Undefined("all labels or all predictions are equal")
