"""From names in a configuration to a model, a balancer and an optimizer."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from polytask.balancers import BALANCERS, Balancer
from polytask.config import RunConfig
from polytask.data import Preprocessing
from polytask.errors import ConfigError, message
from polytask.model import MultiTaskModel
from polytask.optimizers import Schedule, build_optimizer


def build_model(config: RunConfig, preprocessing: Preprocessing) -> MultiTaskModel:
    """The untrained model; its weights follow from the seed alone.

    Args:
        config: Which encoder, sharing, heads, space and bias.
        preprocessing: Sizes of the fields, and the fitted tasks.
    """
    torch.manual_seed(config.train.seed)
    methods = {"encoder": config.encoder.table(), "sharing": config.sharing.table(), "space": config.space.table()}
    bias = None if config.bias is None else config.bias.table()
    return MultiTaskModel.build(preprocessing, preprocessing.tasks, **methods, heads=config.heads, bias=bias)


def build_balancer(config: RunConfig, tasks: Sequence[str]) -> Balancer:
    """The balancer of named tasks.

    Raises:
        ConfigError: If the model would not be complete without the balancer.
    """
    balancer = BALANCERS[config.balancer.name](tasks, **config.balancer.options)
    if balancer.changes_model:
        expected = "A declared run saves and serves the model without its balancer."
        way_out = "Use it in a loop of your own, in serving too, or take another balancer."
        raise ConfigError(message(expected, received=f"balancer {config.balancer.name!r}", way_out=way_out))
    return balancer


def build_update(config: RunConfig, model: MultiTaskModel, balancer: Balancer, num_batches: int) -> tuple[Any, Any]:
    """The optimizer and the schedule of its rates.

    Args:
        config: Which ones, and how long to train.
        model: Its parameters are updated.
        balancer: Its parameters are updated too.
        num_batches: Batches of an epoch.
    """
    plan = config.plan
    total = plan.epochs * math.ceil(num_batches / plan.accumulate)
    optimizer = build_optimizer(model, balancer, **config.optimizer)
    return optimizer, Schedule(optimizer, total_steps=min(total, plan.max_steps or total), **config.schedule)
