"""Self-normalised inverse propensity scoring."""

from polytask.policies._estimate import Certainty, Estimate, Weighted, of_ratio
from polytask.policies._log import Log


def snips(log: Log, *, clip: float | None = None, certainty: Certainty = Certainty()) -> Estimate:  # noqa: B008 - a frozen value
    """Weighted mean of the rewards: `ips` divided by its own mean weight.

    `V = Σ_i w_i r_i / Σ_i w_i`. It always lies between the least and the greatest reward, and adding a constant to all rewards
    adds that constant. Its bias vanishes as 1 / n.

    Prefer it to `ips` nearly always: less variance for a bias that is small beside it. Not for very few rows, nor where the
    judged policy does what the log never shows: it then silently judges the shared part (the mean weight tells).

    Cost: as `ips`.

    Source: Swaminathan and Joachims, The self-normalized estimator for counterfactual learning, NeurIPS 2015 (paper not at
    hand; the standard form). Variance of a ratio to first order, as in survey sampling.

    Differs: Open Bandit Pipeline takes the interval over rows of `w r / mean(w)`, as if the denominator were certain; here it
    varies too.

    Args:
        log: Rewards, propensities, and the judged policy's probabilities.
        clip: Greatest weight; None for none.
        certainty: Level and bootstrap of the intervals.

    Raises:
        DataError: If a number is out of its range, or no row has weight.

    Example:
        >>> import numpy as np
        >>> from polytask.policies import Log
        >>> log = Log(np.array([1.0, 0.0, 1.0, 0.0]), np.full(4, 0.5), np.array([1.0, 1.0, 0.0, 1.0]))
        >>> round(snips(log).value, 4)
        0.3333
    """
    raw, weights = log.weights(), log.weights(clip)
    above = weights * log.reward
    return of_ratio(above, weights, Weighted(raw, weights), int((above != 0).sum()), certainty)
