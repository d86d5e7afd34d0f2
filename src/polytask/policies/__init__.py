"""What another policy would have earned, from a log with propensities."""

from collections.abc import Callable

from polytask.policies._doubly_robust import doubly_robust
from polytask.policies._estimate import Certainty, Estimate, Interval
from polytask.policies._ips import ips
from polytask.policies._log import Log
from polytask.policies._slots import expected_reward, logged_policy, of_logged, ranked_policy
from polytask.policies._snips import snips

ESTIMATORS: dict[str, Callable[..., Estimate]] = {"doubly_robust": doubly_robust, "ips": ips, "snips": snips}

__all__ = [
    "ESTIMATORS",
    "Certainty",
    "Estimate",
    "Interval",
    "Log",
    "doubly_robust",
    "expected_reward",
    "ips",
    "logged_policy",
    "of_logged",
    "ranked_policy",
    "snips",
]
