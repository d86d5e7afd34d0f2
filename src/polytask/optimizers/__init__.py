"""Optimizers: from one gradient to changed parameters, at a rate per task."""

from polytask.optimizers._adagrad import Adagrad
from polytask.optimizers._adamw import AdamW
from polytask.optimizers._average import WeightAverage
from polytask.optimizers._base import Entry, Rule
from polytask.optimizers._build import OPTIMIZERS, build_optimizer
from polytask.optimizers._groups import Group, Member, parameter_groups
from polytask.optimizers._optimizer import Optimizer
from polytask.optimizers._schedule import SCHEDULES, Schedule
from polytask.optimizers._sgd import SGD

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Adagrad",
    "AdamW",
    "Entry",
    "Group",
    "Member",
    "Optimizer",
    "Rule",
    "Schedule",
    "WeightAverage",
    "build_optimizer",
    "parameter_groups",
]
