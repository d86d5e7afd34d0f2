"""Share of lists that hit."""

import numpy as np
from jaxtyping import Float, Shaped

from polytask.metrics._base import NO_ROW, Undefined
from polytask.metrics._ranked import FirstPositives, Ranking


def hit_rate(
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n"],
    k: int = 10,
) -> float:
    """Share of groups with a positive row among the first k.

    Easily read, but blind to the order inside the first k: `ndcg` and `mrr` see it. Tied predictions get the mean over all
    their orders, exactly. Groups without a positive row are left out: the result tells how many.

    Source: McSherry and Najork (ECIR 2008) for ties; the chance to draw no positive row is hypergeometric.

    Args:
        label: Above 0 is positive.
        prediction: What rows are ranked by, the greatest first.
        weight: Weight of each row; a group weighs the mean of its rows.
        groups: Which group each row belongs to.
        k: Ranks that count.

    Example:
        >>> label, prediction = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.9, 0.5, 0.8, 0.2])
        >>> hit_rate(label, prediction, groups=np.array([7, 7, 8, 8]), k=1)
        0.5
    """
    ranking = Ranking(label, prediction, weight, groups)
    if ranking.empty:
        return Undefined(NO_ROW)
    first = FirstPositives(ranking)
    slots = np.clip(k - first.before, 0, first.size)
    values, usable = np.zeros(len(ranking.first_rows)), np.zeros(len(ranking.first_rows), bool)
    values[first.group] = 1 - first.none_among(np.arange(len(slots)), slots)
    usable[first.group] = True
    return ranking.mean(values, usable)
