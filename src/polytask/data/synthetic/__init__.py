"""Generators that know their answer."""

from polytask.data.synthetic._behaviours import Behaviours
from polytask.data.synthetic._closed_loop import Round, Scorer, closed_loop, expected_ndcg
from polytask.data.synthetic._correlated_regression import CorrelatedRegression
from polytask.data.synthetic._entire_space import EntireSpace
from polytask.data.synthetic._feed import Feed
from polytask.data.synthetic._oracle import OracleScore, bayes_auc, bayes_log_loss, oracle
from polytask.data.synthetic._positions import Positions

GENERATORS: dict[str, type] = {
    "behaviours": Behaviours,
    "correlated_regression": CorrelatedRegression,
    "entire_space": EntireSpace,
    "feed": Feed,
    "positions": Positions,
}

__all__ = [
    "GENERATORS",
    "Behaviours",
    "CorrelatedRegression",
    "EntireSpace",
    "Feed",
    "OracleScore",
    "Positions",
    "Round",
    "Scorer",
    "bayes_auc",
    "bayes_log_loss",
    "closed_loop",
    "expected_ndcg",
    "oracle",
]
