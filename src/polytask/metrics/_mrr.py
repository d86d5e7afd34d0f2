"""Mean reciprocal rank."""

import numpy as np
from jaxtyping import Float, Shaped

from polytask.metrics._base import NO_ROW, Undefined
from polytask.metrics._ranked import FirstPositives, Ranking


def mrr(
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n"],
    k: int | None = None,
) -> float:
    """Mean over groups of 1 / rank of the first positive row.

    For lists of which one good row is all that is wanted; where every positive counts, prefer `ndcg`. Tied predictions get the
    mean over all their orders, exactly. Groups without a positive row are left out: the result tells how many.

    Source: Voorhees, The TREC-8 question answering track report (1999); ties as in McSherry and Najork (ECIR 2008).

    Args:
        label: Above 0 is positive.
        prediction: What rows are ranked by, the greatest first.
        weight: Weight of each row; a group weighs the mean of its rows.
        groups: Which group each row belongs to.
        k: Ranks that count; a first positive row behind them gives 0. All where None.

    Example:
        >>> label, prediction = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.9, 0.5, 0.8, 0.2])
        >>> mrr(label, prediction, groups=np.array([7, 7, 8, 8]))
        0.75
    """
    ranking = Ranking(label, prediction, weight, groups)
    if ranking.empty:
        return Undefined(NO_ROW)
    first = FirstPositives(ranking)
    places = first.size - first.positives + 1  # of its run where the first positive row may stand
    run = np.repeat(np.arange(len(places)), places)
    place = np.arange(len(run)) - np.repeat(np.cumsum(places) - places, places)
    rank = first.before[run] + place + 1
    chance = first.none_among(run, place) - first.none_among(run, place + 1)
    counts = 1.0 if k is None else rank <= k
    values, usable = np.zeros(len(ranking.first_rows)), np.zeros(len(ranking.first_rows), bool)
    values[first.group] = np.bincount(run, counts * chance / rank, minlength=len(places))
    usable[first.group] = True
    return ranking.mean(values, usable)
