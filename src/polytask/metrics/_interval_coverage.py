"""How many labels lie inside the predicted interval."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined, mean


def interval_coverage(
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, "n q"],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    levels: Sequence[float],
) -> float:
    """Share of labels between the lowest and the highest quantile, less the share that should be there: 0 is right.

    Above 0 intervals are too wide, below 0 too narrow. It says nothing of sharpness: use `pinball_loss` beside it.

    Source: Gneiting & Raftery, Strictly Proper Scoring Rules (JASA 2007), section 6.2.

    Args:
        label: Label on its own scale.
        prediction: Each quantile, on the same scale, rising.
        weight: Weight of each row.
        levels: Share of labels below each quantile.

    Example:
        >>> interval_coverage(np.array([0.0, 9.0]), np.array([[-1.0, 1.0], [-1.0, 1.0]]), levels=(0.25, 0.75))
        0.0
    """
    if len(levels) < 2:
        return Undefined("an interval needs two levels")
    inside = (label >= prediction[:, 0]) & (label <= prediction[:, -1])
    share = mean(inside.astype(np.float64), weight)
    return share if isinstance(share, Undefined) else share - (levels[-1] - levels[0])
