"""Contracts of the families, for methods of third parties: each is a function that raises where a promise is broken."""

from polytask.testing._balancers import check_balancer
from polytask.testing._sharing import check_sharing

__all__ = ["check_balancer", "check_sharing"]
