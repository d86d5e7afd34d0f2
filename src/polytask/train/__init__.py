"""Training: four lines a step, and the loop around them."""

from polytask.train._interruption import Interrupted
from polytask.train._judge import Best
from polytask.train._plan import Plan, resolve_device
from polytask.train._step import accumulated_step, train_step
from polytask.train._trainer import Result, Trainer

__all__ = ["Best", "Interrupted", "Plan", "Result", "Trainer", "accumulated_step", "resolve_device", "train_step"]
