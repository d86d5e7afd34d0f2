"""The small convex problems behind gradient balancers: from the Gramian of task gradients to their weights, in torch alone.

All are batched over any leading dimensions (replicas), work in float64 on the cosines of the gradients and return the type of
what they were given. Nothing waits for a device. A Gramian that is not finite has weights that are not finite.
"""

from polytask.balancers.solvers._aligned import aligned_weights
from polytask.balancers.solvers._conflict_averse import conflict_averse_weights
from polytask.balancers.solvers._dual_cone import dual_cone_weights
from polytask.balancers.solvers._equal_projection import equal_projection_weights
from polytask.balancers.solvers._min_norm import min_norm_weights
from polytask.balancers.solvers._power import nash_weights, power_weights
from polytask.balancers.solvers._surgery import surgery_weights
from polytask.balancers.solvers._unit_sum import unit_sum_weights
from polytask.balancers.solvers._vaccine import vaccine_weights

__all__ = [
    "aligned_weights",
    "conflict_averse_weights",
    "dual_cone_weights",
    "equal_projection_weights",
    "min_norm_weights",
    "nash_weights",
    "power_weights",
    "surgery_weights",
    "unit_sum_weights",
    "vaccine_weights",
]
