"""Balancers: many losses in, one direction out."""

from polytask.balancers._auxiliary_decay import AuxiliaryDecay
from polytask.balancers._base import Balance, Balancer
from polytask.balancers._dynamic_average import DynamicAverage
from polytask.balancers._dynamic_priority import DynamicPriority
from polytask.balancers._equal import Equal
from polytask.balancers._famo import FAMO
from polytask.balancers._fixed import Fixed
from polytask.balancers._front import static_front
from polytask.balancers._gain_schedule import GainSchedule
from polytask.balancers._geometric import Geometric
from polytask.balancers._imtl_l import IMTLL
from polytask.balancers._logarithmic import Logarithmic
from polytask.balancers._loss import LossBalancer
from polytask.balancers._random import Random
from polytask.balancers._smooth_tchebycheff import SmoothTchebycheff
from polytask.balancers._uncertainty import Uncertainty
from polytask.balancers._uncertainty_revised import UncertaintyRevised
from polytask.balancers._uncertainty_soft import UncertaintySoft

BALANCERS: dict[str, type[Balancer]] = {
    "equal": Equal,
    "fixed": Fixed,
    "auxiliary_decay": AuxiliaryDecay,
    "dynamic_average": DynamicAverage,
    "dynamic_priority": DynamicPriority,
    "famo": FAMO,
    "gain_schedule": GainSchedule,
    "geometric": Geometric,
    "imtl_l": IMTLL,
    "logarithmic": Logarithmic,
    "random": Random,
    "smooth_tchebycheff": SmoothTchebycheff,
    "uncertainty": Uncertainty,
    "uncertainty_revised": UncertaintyRevised,
    "uncertainty_soft": UncertaintySoft,
}

__all__ = [
    "BALANCERS",
    "FAMO",
    "IMTLL",
    "AuxiliaryDecay",
    "Balance",
    "Balancer",
    "DynamicAverage",
    "DynamicPriority",
    "Equal",
    "Fixed",
    "GainSchedule",
    "Geometric",
    "Logarithmic",
    "LossBalancer",
    "Random",
    "SmoothTchebycheff",
    "Uncertainty",
    "UncertaintyRevised",
    "UncertaintySoft",
    "static_front",
]
