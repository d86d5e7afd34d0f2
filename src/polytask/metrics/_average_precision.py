"""Area under the precision-recall curve."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined


def average_precision(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean precision over the positives, each at its own threshold.

    For rare positives, where AUC is easily near 1. Its value at chance is the base rate, so compare it inside one task only.

    Source: scikit-learn's `average_precision_score`, which computes it.

    Args:
        label: 0 or 1.
        prediction: Anything that rises with the chance of 1.
        weight: Weight of each row.

    Example:
        >>> round(average_precision(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3, 0.4])), 4)
        0.8333
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - a second to import

    if not (label if weight is None else label * weight).any():
        return Undefined("no positive label occurs")
    return float(average_precision_score(label, prediction, sample_weight=weight))
