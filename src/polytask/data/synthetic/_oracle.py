"""The best scores any model of a simulated log's columns can reach, to put a trained model's beside."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float
from scipy.special import xlogy
from scipy.stats import rankdata

_TRUTH = {"click": "true_click", "buy": "true_buy_given_click", "like": "true_like", "watch": "true_watch_given_click"}


class OracleScore(NamedTuple):
    """Scores of the true probability (or of the true mean, where the label is a number).

    Args:
        auc: Area under the ROC curve on the labels at hand; None for a number.
        log_loss: Mean negative log-likelihood on the labels at hand; None for a number.
        expected_auc: What `auc` is over redrawn labels; None for a number.
        expected_log_loss: What `log_loss` is over redrawn labels; None for a number.
        rmse: Root mean squared error of the true mean; None for a binary label.
    """

    auc: float | None = None
    log_loss: float | None = None
    expected_auc: float | None = None
    expected_log_loss: float | None = None
    rmse: float | None = None


def oracle(log: pa.Table, truth: pa.Table) -> dict[str, OracleScore]:
    """Scores of the truth on a log, by task: click and like on every labelled row, buy and watch on clicked ones.

    Args:
        log: Rows as the `table` of `Feed` or `EntireSpace` gives them.
        truth: The same rows as its `truth` gives them.

    Example:
        >>> from polytask.data.synthetic import Feed
        >>> feed = Feed(num_users=50, num_items=40)
        >>> scores = oracle(feed.table(0, 2_000), feed.truth(0, 2_000))
        >>> 0.5 < scores["click"].auc < 1
        True
    """
    clicked = log["click"].to_numpy() == 1
    everywhere = np.ones(log.num_rows, dtype=bool)
    domain = {"click": everywhere, "buy": clicked, "like": everywhere, "watch": clicked}
    return {name: _score(name, log, truth, rows) for name, rows in domain.items() if name in log.column_names}


def bayes_auc(probability: Float[np.ndarray, " n"]) -> float:
    """Expected AUC of true probabilities over draws of the labels (as a ratio of expectations, exact as n grows).

    `Σ_ij p_i (1 - p_j) [p_i > p_j] / Σ p Σ (1 - p)`, ties counting half.
    """
    return _weighted_auc(probability, probability, 1 - probability)


def bayes_log_loss(probability: Float[np.ndarray, " n"]) -> float:
    """Expected log loss of true probabilities: their mean entropy."""
    return float(-np.mean(xlogy(probability, probability) + xlogy(1 - probability, 1 - probability)))


def _score(name: str, log: pa.Table, truth: pa.Table, rows: Bool[np.ndarray, " n"]) -> OracleScore:
    label = log[name].to_numpy().astype(float)
    rows = rows & ~np.isnan(label)
    label, best = label[rows], truth[_TRUTH[name]].to_numpy()[rows]
    if name == "watch":
        return OracleScore(rmse=float(np.sqrt(np.mean((label - best) ** 2))))
    return OracleScore(
        auc=_weighted_auc(best, label, 1 - label),
        log_loss=float(-np.mean(xlogy(label, best) + xlogy(1 - label, 1 - best))),
        expected_auc=bayes_auc(best),
        expected_log_loss=bayes_log_loss(best),
    )


def _weighted_auc(score: Float[np.ndarray, " n"], positive: Float[np.ndarray, " n"], negative: Float[np.ndarray, " n"]) -> float:
    """AUC where each row is a positive and a negative to some part."""
    groups = rankdata(score, method="dense").astype(int) - 1
    won = np.bincount(groups, negative)
    below = np.cumsum(won) - won
    return float(np.bincount(groups, positive) @ (below + won / 2) / (positive.sum() * negative.sum()))
