"""Losses that are leaves: their gradients are the weights."""

import torch


def leaves(**values):
    """Scalar losses that need a gradient."""
    return {name: torch.tensor(float(value), requires_grad=True) for name, value in values.items()}


def weights(balancer, **values):
    """What the balancer decides for some losses, as numbers; the same as what reaches the losses."""
    losses = leaves(**values)
    balance = balancer.backward(losses)
    decided = {name: weight.item() for name, weight in balance.weights.items()}
    assert decided == {name: loss.grad.item() for name, loss in losses.items()}
    return decided
