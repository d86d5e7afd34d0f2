"""Metrics: numpy in, a float out. A value that is not defined is a NaN that tells its reason."""

from polytask.metrics._accuracy import accuracy
from polytask.metrics._auc import auc
from polytask.metrics._average_precision import average_precision
from polytask.metrics._base import Metric, Undefined
from polytask.metrics._brier import brier
from polytask.metrics._calibration_error import calibration_error
from polytask.metrics._calibration_ratio import calibration_ratio
from polytask.metrics._decile_error import decile_error
from polytask.metrics._delta_m import delta_m, relative_gain
from polytask.metrics._equal_mass import equal_mass_bins
from polytask.metrics._evaluate import evaluate, find_metric
from polytask.metrics._grouped_auc import grouped_auc
from polytask.metrics._hit_rate import hit_rate
from polytask.metrics._interval_coverage import interval_coverage
from polytask.metrics._level_error import level_error
from polytask.metrics._log_loss import log_loss
from polytask.metrics._macro_f1 import macro_f1
from polytask.metrics._mae import mae
from polytask.metrics._mrr import mrr
from polytask.metrics._multiclass_log_loss import multiclass_log_loss
from polytask.metrics._ndcg import ndcg
from polytask.metrics._normalised_entropy import normalised_entropy
from polytask.metrics._normalised_gini import normalised_gini
from polytask.metrics._pinball_loss import pinball_loss
from polytask.metrics._poisson_deviance import poisson_deviance
from polytask.metrics._quadratic_kappa import quadratic_kappa
from polytask.metrics._r2 import r2
from polytask.metrics._ranked import OverGroups
from polytask.metrics._ranked_probability_score import ranked_probability_score
from polytask.metrics._rmse import rmse
from polytask.metrics._spearman import spearman
from polytask.metrics._value_per_impression import value_per_impression

METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, ("multiclass", "ordinal"), greater_is_better=True),
    "auc": Metric(auc, ("binary",), greater_is_better=True),
    "average_precision": Metric(average_precision, ("binary",), greater_is_better=True),
    "brier": Metric(brier, ("binary",), greater_is_better=False),
    "calibration_error": Metric(calibration_error, ("binary",), greater_is_better=False),
    "calibration_ratio": Metric(calibration_ratio, ("binary", "count", "value"), greater_is_better=None),
    "decile_error": Metric(decile_error, ("value",), greater_is_better=False),
    "grouped_auc": Metric(grouped_auc, ("binary",), greater_is_better=True, grouped=True),
    "hit_rate": Metric(hit_rate, ("binary",), greater_is_better=True, grouped=True),
    "interval_coverage": Metric(interval_coverage, ("quantile",), greater_is_better=None, from_task=("levels",)),
    "level_error": Metric(level_error, ("ordinal",), greater_is_better=False),
    "log_loss": Metric(log_loss, ("binary",), greater_is_better=False),
    "macro_f1": Metric(macro_f1, ("multiclass", "ordinal"), greater_is_better=True),
    "mae": Metric(mae, ("regression", "count", "value"), greater_is_better=False),
    "mrr": Metric(mrr, ("binary",), greater_is_better=True, grouped=True),
    "multiclass_log_loss": Metric(multiclass_log_loss, ("multiclass", "ordinal"), greater_is_better=False),
    "ndcg": Metric(ndcg, ("binary", "regression", "count"), greater_is_better=True, grouped=True),
    "normalised_entropy": Metric(normalised_entropy, ("binary",), greater_is_better=False),
    "normalised_gini": Metric(normalised_gini, ("value", "regression", "count"), greater_is_better=True),
    "pinball_loss": Metric(pinball_loss, ("quantile",), greater_is_better=False, from_task=("levels",)),
    "poisson_deviance": Metric(poisson_deviance, ("count",), greater_is_better=False),
    "quadratic_kappa": Metric(quadratic_kappa, ("ordinal",), greater_is_better=True),
    "r2": Metric(r2, ("regression", "count", "value"), greater_is_better=True),
    "ranked_probability_score": Metric(ranked_probability_score, ("ordinal",), greater_is_better=False),
    "rmse": Metric(rmse, ("regression", "count", "value"), greater_is_better=False),
    "spearman": Metric(spearman, ("regression", "count", "value"), greater_is_better=True),
    "value_per_impression": Metric(value_per_impression, ("binary",), greater_is_better=True, grouped=True),
}

__all__ = [
    "METRICS",
    "Metric",
    "OverGroups",
    "Undefined",
    "accuracy",
    "auc",
    "average_precision",
    "brier",
    "calibration_error",
    "calibration_ratio",
    "decile_error",
    "delta_m",
    "equal_mass_bins",
    "evaluate",
    "find_metric",
    "grouped_auc",
    "hit_rate",
    "interval_coverage",
    "level_error",
    "log_loss",
    "macro_f1",
    "mae",
    "mrr",
    "multiclass_log_loss",
    "ndcg",
    "normalised_entropy",
    "normalised_gini",
    "pinball_loss",
    "poisson_deviance",
    "quadratic_kappa",
    "r2",
    "ranked_probability_score",
    "relative_gain",
    "rmse",
    "spearman",
    "value_per_impression",
]
