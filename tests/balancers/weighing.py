"""Weights of a gradient method straight from a Jacobian."""

import torch

from polytask.balancers.measures import Measured

NAMES = tuple("abcdefgh")


def weigh(balancer, rows, losses=None):
    """Weights of tasks whose gradients are the rows."""
    rows = torch.as_tensor(rows, dtype=torch.float64)
    losses = torch.ones(len(rows)) if losses is None else torch.as_tensor(losses)
    return balancer.weigh(Measured(rows @ rows.T), losses.double(), balancer.tasks)


def direction(method, rows, losses=None, **options):
    """What a method of fresh state makes of the rows."""
    rows = torch.as_tensor(rows, dtype=torch.float64)
    return weigh(method(NAMES[: len(rows)], **options), rows, losses) @ rows
