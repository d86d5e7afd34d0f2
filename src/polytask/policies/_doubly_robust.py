"""Doubly robust estimation."""

import numpy as np
from jaxtyping import Float

from polytask.errors import DataError, message
from polytask.policies._estimate import Certainty, Estimate, Weighted, of_ratio
from polytask.policies._log import Log


def doubly_robust(
    log: Log,
    predicted: Float[np.ndarray, " n"],
    expected: Float[np.ndarray, " n"],
    *,
    clip: float | None = None,
    certainty: Certainty = Certainty(),  # noqa: B008 - a frozen value
) -> Estimate:
    """A model's expectation of the reward, corrected by weighted residuals of the log.

    `V = 1/n Σ_i [ Σ_a π(a | x_i) q(x_i, a) + w_i (r_i - q(x_i, a_i)) ]` with a model `q` of the reward: the predictions of a
    click or revenue task. Unbiased where the propensities are right, whatever the model; and where the model is right, whatever
    the propensities.

    Prefer it where a trained model is at hand: the better it is, the smaller the residuals that are weighted. The model must not
    have been trained on these rows. Not where the model is bad and weights are large: it may add variance.

    Cost: predictions of all actions of every row; then as `ips`.

    Source: Dudík, Langford and Li, Doubly robust policy evaluation and learning, ICML 2011 (paper not at hand; the standard
    form).

    Differs: in nothing.

    Args:
        log: Rewards, propensities, and the judged policy's probabilities.
        predicted: The model's reward of the logged action, q(x_i, a_i).
        expected: The model's mean reward under the judged policy (`expected_reward`).
        clip: Greatest weight; None for none.
        certainty: Level and bootstrap of the intervals.

    Raises:
        DataError: If a number is out of its range, or columns differ in length.

    Example:
        >>> log = Log(np.array([1.0, 0.0]), np.full(2, 0.5), np.array([1.0, 0.0]))
        >>> doubly_robust(log, np.array([0.75, 0.5]), np.array([0.75, 0.75])).value
        1.0
    """
    lengths = {"predicted": len(predicted), "expected": len(expected), "log": len(log)}
    if len(set(lengths.values())) > 1:
        raise DataError(message("The model's columns must be as long as the log.", received=lengths))
    if not (np.isfinite(predicted).all() and np.isfinite(expected).all()):
        raise DataError(message("The model's rewards must be finite.", received="one that is not"))
    raw, weights = log.weights(), log.weights(clip)
    rewarded = int((weights * log.reward != 0).sum())
    return of_ratio(expected + weights * (log.reward - predicted), None, Weighted(raw, weights), rewarded, certainty)
