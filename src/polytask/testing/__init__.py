"""Contracts of the families, for methods of third parties, and problems whose answer is known.

A contract is a function that raises where a promise is broken.
"""

from polytask.testing._balancers import check_balancer
from polytask.testing._problems import (
    FonsecaFleming,
    NashToy,
    Problem,
    SteepValley,
    ThreeQuadratics,
    TwoQuadratics,
    descend,
)
from polytask.testing._sharing import check_sharing

__all__ = [
    "FonsecaFleming",
    "NashToy",
    "Problem",
    "SteepValley",
    "ThreeQuadratics",
    "TwoQuadratics",
    "check_balancer",
    "check_sharing",
    "descend",
]
