"""F1 of each class, averaged."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import NO_ROW, Undefined


def macro_f1(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n c"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """F1 of each class that occurs or is predicted, averaged with equal weight.

    Rare classes count as much as frequent ones; noisy where they have few rows.

    Source: scikit-learn's `f1_score(average="macro")`, which computes it.

    Args:
        label: Place of the class.
        prediction: Probability of each class.
        weight: Weight of each row.

    Example:
        >>> round(macro_f1(np.array([1.0, 0.0]), np.array([[0.2, 0.8], [0.3, 0.7]])), 4)
        0.3333
    """
    from sklearn.metrics import f1_score  # noqa: PLC0415 - a second to import

    if not len(label):
        return Undefined(NO_ROW)
    chosen = prediction.argmax(axis=1)
    return float(f1_score(label.astype(np.int64), chosen, average="macro", sample_weight=weight, zero_division=0.0))
