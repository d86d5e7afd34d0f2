"""How much of the total the highest predictions hold."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import NO_ROW, Undefined, weights_of


def normalised_gini(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Gini index of the labels ordered by prediction, over that of the labels in their own order: 1 is the right order.

    Twice the area between the diagonal and the curve of "share of the total" against "share of rows", from the lowest prediction
    to the highest. 0 is no better than chance; only the order of predictions counts, and large labels count more than small ones.
    Equal predictions share their labels evenly, so the value does not depend on the order of rows.

    Source: Wang, Liu & Miao, A Deep Probabilistic Model for Customer Lifetime Value Prediction (2019); checked
    against the code that its authors published, the paper was not at hand.
    Differs: ties are shared, and areas are of trapezoids; for 0/1 labels it is `2 AUC - 1`.

    Args:
        label: Amount, not below 0.
        prediction: Anything that rises with the amount.
        weight: Weight of each row.

    Example:
        >>> normalised_gini(np.array([0.0, 0.0, 4.0]), np.array([1.0, 3.0, 2.0]))
        0.0
    """
    weight, label = weights_of(label, weight), label.astype(np.float64)
    if weight.sum() <= 0:
        return Undefined(NO_ROW)
    if (label < 0).any():
        return Undefined("a label is below 0")
    best = _gini(label, label, weight)
    if not best > 0:
        return Undefined("all labels are equal")
    return _gini(label, prediction, weight) / best


def _gini(label: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> float:
    """One minus twice the area below the curve."""
    order = np.argsort(prediction)
    starts = np.flatnonzero(np.r_[True, np.diff(prediction[order]) != 0])
    mass, total = (np.add.reduceat(values[order], starts) for values in (weight, weight * label))
    if not total.sum() > 0:
        return 0.0
    reached = np.cumsum(total) / total.sum()
    return float(1 - (mass / mass.sum()) @ (2 * reached - total / total.sum()))
