"""Area under the ROC curve inside each group."""

import numpy as np
from jaxtyping import Float, Shaped

from polytask.metrics._base import Undefined, weights_of
from polytask.metrics._ranked import OverGroups


def grouped_auc(
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n"],
) -> float:
    """Mean over groups (users, queries) of the AUC inside each, weighted by the rows of the group.

    What a ranking engineer wants where only the order inside a user's list matters. Groups with one class have no AUC
    and are left out, with their weight: the result tells how many.

    Source: Zhu et al., Optimized Cost per Click in Taobao Display Advertising (KDD 2017), there called GAUC.

    Args:
        label: 0 or 1.
        prediction: Anything that rises with the chance of 1.
        weight: Weight of each row; the weight of a group is the sum over its rows.
        groups: Which group each row belongs to.

    Example:
        >>> label, prediction = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.9, 0.8])
        >>> grouped_auc(label, prediction, groups=np.array([7, 7, 8, 8]))
        0.5
    """
    weight = weights_of(label, weight)
    order = np.lexsort((prediction, groups))
    prediction, groups = prediction[order], groups[order]
    positive, negative = (weight * label)[order], (weight * (1 - label))[order]
    new_group = np.r_[True, groups[1:] != groups[:-1]][: len(groups)]
    starts = np.flatnonzero(new_group | np.r_[True, prediction[1:] != prediction[:-1]][: len(groups)])
    if not starts.size:
        return Undefined("no observed row")
    member = np.cumsum(new_group)[starts] - 1  # group of each run of equal predictions
    positive, negative = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    positives, negatives = np.bincount(member, positive), np.bincount(member, negative)
    first = np.flatnonzero(new_group[starts])
    below = np.cumsum(negative) - negative
    below -= below[first][member]
    ordered = np.bincount(member, positive * (below + negative / 2))
    usable = (positives > 0) & (negatives > 0)
    if not usable.any():
        return Undefined("only one class occurs in every group")
    areas = ordered[usable] / (positives * negatives)[usable]
    value = float(np.average(areas, weights=(positives + negatives)[usable]))
    left_out = int(len(usable) - usable.sum())
    return OverGroups(value, groups=int(usable.sum()), left_out=left_out, why="with one class only")
