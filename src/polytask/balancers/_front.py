"""A front of static weights: what every balancer has to be held against."""

from collections.abc import Sequence

import numpy as np

from polytask.balancers._fixed import Fixed
from polytask.balancers._given import check_positive


def static_front(tasks: Sequence[str], *, points: int = 11, spread: float = 16.0, seed: int = 0) -> list[Fixed]:
    """Weighted sums from one end of the trade-off to the other; the plain sum is the first.

    Two tasks: ratios of the weights in equal steps of their logarithm. More: random points of the simplex. Weights sum to k. Each
    point needs a learning rate of its own: a front whose rate was tuned for the plain sum makes every other method look good.

    Source: Xin et al. 2022, "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", section 4: what balancers
    reach is on the front that static weights draw.

    Args:
        tasks: Names of the k tasks.
        points: Number of weighted sums.
        spread: Greatest ratio of two tasks' weights, where there are two.
        seed: Of the random points.

    Raises:
        ConfigError: If `points` or `spread` is not positive.

    Example:
        >>> [balancer.weights["buy"] for balancer in static_front(["click", "buy"], points=3, spread=4.0)]
        [1.0, 0.4, 1.6]
    """
    check_positive(points=points, spread=spread)
    others = points - 1
    if len(tasks) == 2:
        shares = 1 / (1 + np.geomspace(1 / spread, spread, others))
        weights = 2 * np.stack([shares, 1 - shares], axis=1)
    else:
        weights = len(tasks) * np.random.default_rng(seed).dirichlet(np.ones(len(tasks)), others)
    rows = [[1.0] * len(tasks), *weights.round(4).tolist()]
    return [Fixed(tasks, weights=dict(zip(tasks, row, strict=True))) for row in rows]
