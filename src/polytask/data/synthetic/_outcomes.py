"""From factors to probabilities and draws: correlation, base rates, noise."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import expit

OUTCOMES = ("click", "buy", "like", "watch")
STEEPNESS = {"click": 1.6, "buy": 1.5, "like": 1.5, "watch": 0.6}
"""Standard deviation of each logit; for watch, of the logarithm of the mean time."""
WATCH_SPREAD = 0.8
"""Standard deviation of the logarithm of a watch time around its mean: heavy-tailed, with a variance."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(20)


@dataclass(frozen=True)
class Scales:
    """What turns raw factors into logits: whitening and mixing in one matrix, an offset an outcome.

    Args:
        centre: Mean of the factors over impressions.
        mixing: Factors minus `centre`, times this, are scores of variance 1 and the asked correlations.
        offset: Logit (for watch: logarithm of the mean time) at score 0.
    """

    centre: Float[np.ndarray, " k"]
    mixing: Float[np.ndarray, "k k"]
    offset: dict[str, float]

    def scores(self, factors: Float[np.ndarray, "*rows k"]) -> Float[np.ndarray, "*rows k"]:
        """Standardised scores in the order of `OUTCOMES`."""
        return np.asarray((factors - self.centre) @ self.mixing)

    def logit(self, scores: Float[np.ndarray, "*rows k"], outcome: str) -> Float[np.ndarray, " *rows"]:
        """Logit of a binary outcome, or the logarithm of the mean watch time."""
        return self.offset[outcome] + STEEPNESS[outcome] * scores[..., OUTCOMES.index(outcome)]


def mixing_matrix(factors: Float[np.ndarray, "n k"], with_click: dict[str, float]) -> Float[np.ndarray, "k k"]:
    """The matrix that makes factors uncorrelated over impressions, then correlated with click as asked.

    Two other outcomes meet through click only: their correlation is the product of theirs with click.
    """
    whitening = np.linalg.inv(np.linalg.cholesky(np.cov(factors.T))).T
    loading = np.array([1.0, *(with_click[name] for name in OUTCOMES[1:])])
    mixing = np.diag(np.sqrt(1 - loading**2))
    mixing[0] = loading
    return np.asarray(whitening @ mixing)


def noisy(logit: Float[np.ndarray, " *rows"], noise: float) -> Float[np.ndarray, " *rows"]:
    """Probability when a normal shock nobody can see is added to the logit (Gauss-Hermite; exact where there is none)."""
    if noise == 0:
        return np.asarray(expit(logit))
    total = np.zeros_like(logit)
    for node, weight in zip(_NODES, _WEIGHTS / _WEIGHTS.sum(), strict=True):
        total += weight * expit(logit + noise * node)
    return total


def offset_for(rate: float, logit: Float[np.ndarray, " n"], factor: Float[np.ndarray, " n"], noise: float) -> float:
    """The offset at which the mean of `factor` x probability is `rate`; `factor` has mean 1 where the rate is conditional."""
    return float(brentq(lambda c: np.mean(factor * noisy(logit + c, noise)) - rate, -30.0, 30.0, xtol=1e-10))
