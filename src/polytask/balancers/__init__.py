"""Balancers: many losses in, one direction out."""

from polytask.balancers._base import Balance, Balancer
from polytask.balancers._equal import Equal
from polytask.balancers._fixed import Fixed
from polytask.balancers._loss import LossBalancer
from polytask.balancers._uncertainty import Uncertainty

BALANCERS: dict[str, type[Balancer]] = {
    "equal": Equal,
    "fixed": Fixed,
    "uncertainty": Uncertainty,
}

__all__ = ["BALANCERS", "Balance", "Balancer", "Equal", "Fixed", "LossBalancer", "Uncertainty"]
