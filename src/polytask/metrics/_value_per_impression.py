"""What the first rows of a list are worth."""

import numpy as np
from jaxtyping import Float, Shaped

from polytask.metrics._base import NO_ROW, Undefined
from polytask.metrics._ranked import Ranking


def value_per_impression(
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n"],
    k: int = 1,
) -> float:
    """Mean label of the rows that would be shown: the first k of every group.

    With a price or revenue as label, revenue per impression of a ranking; with a click, its click rate. It takes the logged
    outcome of a row for its outcome at another place, and knows nothing of rows that were never shown: where the log has
    propensities, `polytask.policies` corrects for that. Tied predictions get the mean over all their orders, exactly.

    Source: precision at k of McSherry and Najork (ECIR 2008), with a value in the place of 0 and 1.

    Args:
        label: Value of each row.
        prediction: What rows are ranked by, the greatest first.
        weight: Weight of each row; a group weighs the mean of its rows.
        groups: Which group each row belongs to.
        k: Rows that are shown of each group.

    Example:
        >>> label, prediction = np.array([0.0, 1.0, 3.0, 0.0]), np.array([0.9, 0.5, 0.8, 0.2])
        >>> value_per_impression(label, prediction, groups=np.array([7, 7, 8, 8]))
        1.5
    """
    ranking = Ranking(label, prediction, weight, groups)
    if ranking.empty:
        return Undefined(NO_ROW)
    shown = np.clip(k - ranking.ranks, 0, ranking.sizes)  # rows of each run that are
    value = ranking.over_groups(ranking.over_runs(ranking.label) * shown / ranking.sizes)
    return float(ranking.weight @ value / (ranking.weight @ np.minimum(ranking.group_sizes, k)))
