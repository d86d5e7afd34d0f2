"""Losses: functions of one row, and the one reduction over observed rows."""

from collections.abc import Callable

from torch import Tensor

from polytask.losses._binary_cross_entropy import binary_cross_entropy
from polytask.losses._cross_entropy import cross_entropy
from polytask.losses._cumulative_link import cumulative_link, thresholds
from polytask.losses._half_squared_error import half_squared_error
from polytask.losses._pinball import pinball
from polytask.losses._poisson import poisson, positive_rate
from polytask.losses._reduction import hide_unobserved, mean_over_observed
from polytask.losses._zero_inflated_lognormal import SHARPEST, lognormal_sigma, zero_inflated_lognormal

LOSSES: dict[str, Callable[..., Tensor]] = {
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
    "cumulative_link": cumulative_link,
    "half_squared_error": half_squared_error,
    "pinball": pinball,
    "poisson": poisson,
    "zero_inflated_lognormal": zero_inflated_lognormal,
}

__all__ = [
    "LOSSES",
    "SHARPEST",
    "binary_cross_entropy",
    "cross_entropy",
    "cumulative_link",
    "half_squared_error",
    "hide_unobserved",
    "lognormal_sigma",
    "mean_over_observed",
    "pinball",
    "poisson",
    "positive_rate",
    "thresholds",
    "zero_inflated_lognormal",
]
