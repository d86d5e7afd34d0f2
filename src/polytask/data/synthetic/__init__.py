"""Generators that know their answer."""

from polytask.data.synthetic._correlated_regression import CorrelatedRegression
from polytask.data.synthetic._feed import Feed
from polytask.data.synthetic._oracle import OracleScore, bayes_auc, bayes_log_loss, oracle

GENERATORS: dict[str, type] = {
    "correlated_regression": CorrelatedRegression,
    "feed": Feed,
}

__all__ = ["GENERATORS", "CorrelatedRegression", "Feed", "OracleScore", "bayes_auc", "bayes_log_loss", "oracle"]
