"""Balancers: many losses in, one direction out."""

from polytask.balancers._base import Balance, Balancer

BALANCERS: dict[str, type[Balancer]] = {}

__all__ = ["BALANCERS", "Balance", "Balancer"]
