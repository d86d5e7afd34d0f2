"""Inverse propensity scoring."""

from polytask.policies._estimate import Certainty, Estimate, Weighted, of_ratio
from polytask.policies._log import Log


def ips(log: Log, *, clip: float | None = None, certainty: Certainty = Certainty()) -> Estimate:  # noqa: B008 - a frozen value
    """Value of a policy from another policy's log: rewards weighted by how much more often it would have chosen the row.

    `V = 1/n Σ_i w_i r_i`, `w_i = π(a_i | x_i) / π₀(a_i | x_i)`. Unbiased where the propensities are right and the logging policy
    chooses all that the judged one may choose; then it needs no model at all.

    Prefer it where weights are small, and as the estimator that assumes least. Not where weights are large: its variance is
    theirs (`snips`, `doubly_robust`).

    Cost: one pass; the bootstrap one pass a resample.

    Source: Horvitz and Thompson, JASA 1952; Dudík, Langford and Li, Doubly robust policy evaluation and learning, ICML 2011
    (papers not at hand; the standard form).

    Differs: in nothing.

    Args:
        log: Rewards, propensities, and the judged policy's probabilities.
        clip: Greatest weight; None for none.
        certainty: Level and bootstrap of the intervals.

    Raises:
        DataError: If a number is out of its range.

    Example:
        >>> import numpy as np
        >>> from polytask.policies import Log
        >>> log = Log(np.array([1.0, 0.0, 1.0, 0.0]), np.full(4, 0.5), np.array([1.0, 1.0, 0.0, 1.0]))
        >>> ips(log).value
        0.5
    """
    raw, weights = log.weights(), log.weights(clip)
    above = weights * log.reward
    return of_ratio(above, None, Weighted(raw, weights), int((above != 0).sum()), certainty)
