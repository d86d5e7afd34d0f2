"""Agreement on ordered levels beyond chance."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import NO_ROW, Undefined
from polytask.metrics._level_error import median_level


def quadratic_kappa(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n c"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Agreement of the median predicted level with the label, beyond chance; a miss costs its square.

    Usual for grades and ratings. It looks at one level a row, not at probabilities: use `ranked_probability_score` beside it.

    Source: Cohen, Weighted Kappa (Psychological Bulletin 1968); scikit-learn's `cohen_kappa_score` computes it.

    Args:
        label: Place of the level.
        prediction: Probability of each level.
        weight: Weight of each row.

    Example:
        >>> quadratic_kappa(np.array([0.0, 1.0]), np.array([[0.9, 0.1], [0.1, 0.9]]))
        1.0
    """
    from sklearn.metrics import cohen_kappa_score  # noqa: PLC0415 - a second to import

    if not len(label):
        return Undefined(NO_ROW)
    level, chosen = label.astype(np.int64), median_level(prediction)
    if level.min() == level.max() and chosen.min() == chosen.max():
        return Undefined("all labels and all predictions are equal")
    levels = np.arange(prediction.shape[1])
    return float(cohen_kappa_score(level, chosen, labels=levels, weights="quadratic", sample_weight=weight))
