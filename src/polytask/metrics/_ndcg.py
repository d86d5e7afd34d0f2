"""Normalised discounted cumulative gain."""

import numpy as np
from jaxtyping import Float, Shaped

from polytask.metrics._base import NO_ROW, Undefined
from polytask.metrics._ranked import Ranking


def ndcg(
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n"],
    k: int | None = None,
) -> float:
    """Mean over groups of the discounted gain of the first k rows, as a share of the most that was possible there.

    The gain of a row is its label, its discount 1 / log2(rank + 1); for gains of 2^label - 1 give those as labels. Tied
    predictions get the mean over all their orders, exactly. Groups without a gain above 0 have no value and are left out: the
    result tells how many. A group of one row counts, with 1.

    Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques (TOIS 2002); ties as in McSherry and
    Najork, Computing information retrieval performance measures efficiently in the presence of tied scores (ECIR 2008).

    Args:
        label: Gain of each row, 0 or more.
        prediction: What rows are ranked by, the greatest first.
        weight: Weight of each row; a group weighs the mean of its rows.
        groups: Which group each row belongs to.
        k: Ranks that count; all where None.

    Example:
        >>> label, prediction = np.array([0.0, 1.0, 3.0]), np.array([0.9, 0.5, 0.5])
        >>> round(ndcg(label, prediction, groups=np.zeros(3)), 4)
        0.6229
    """
    scale = np.abs(label).max(initial=0.0)
    if (label < -1e-6 * scale).any():  # a label that was scaled and scaled back may be a little below 0
        return Undefined("a gain is below 0")
    ranking = Ranking(np.maximum(label, 0.0), prediction, weight, groups)
    if ranking.empty:
        return Undefined(NO_ROW)
    longest = int(ranking.group_sizes.max())
    discounts = 1 / np.log2(np.arange(longest) + 2.0)
    discounts[longest if k is None else k :] = 0
    before = np.r_[0.0, np.cumsum(discounts)]
    share = (before[ranking.ranks + ranking.sizes] - before[ranking.ranks]) / ranking.sizes
    gain = ranking.over_groups(ranking.over_runs(ranking.label) * share)
    most = _most(ranking, discounts)
    return ranking.mean(gain / np.where(most > 0, most, 1.0), most > 0)


def _most(ranking: Ranking, discounts: Float[np.ndarray, " d"]) -> Float[np.ndarray, " g"]:
    """The discounted gain of each group where the greatest labels come first; only the rows that have any are sorted."""
    rows = np.flatnonzero(ranking.label > 0)
    group, label = ranking.group_of_row[rows], ranking.label[rows]
    label = label[np.lexsort((-label, group))]  # the order of `group` itself stays
    first = np.searchsorted(group, np.arange(len(ranking.first_rows)))
    rank = np.arange(len(rows)) - first[group]
    most = np.bincount(group, label * discounts[rank], minlength=len(ranking.first_rows))
    return most.astype(np.float64)  # of no row it counts
