"""Gradients from which the parts that conflict with others are cut away, one after another."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polytask.balancers.solvers._unit import Unit, unit


class Visits(NamedTuple):
    """Who looks at whom, flattened: row r is one task of one replica.

    Args:
        cosines: Of all tasks of all replicas with those of their own replica.
        rows: Row of `cosines` that each row looks at in each turn.
        columns: Its column, in each turn; the last dimension has length 1.
        others: 1 where that is another task, 0 where it is the row's own.
    """

    cosines: Float[Tensor, "r k"]
    rows: tuple[Int[Tensor, " r"], ...]
    columns: tuple[Int[Tensor, "r 1"], ...]
    others: tuple[Float[Tensor, "r 1"], ...]


def visits(cosines: Float[Tensor, "*s k k"], order: Int[Tensor, "*#s k k"]) -> Visits:
    """Flattens replicas, so that each turn is a few operations on matrices."""
    tasks = order.shape[-1]
    order = order.expand(cosines.shape).reshape(-1, tasks)
    row = torch.arange(order.shape[0], device=order.device).unsqueeze(-1)
    own = row % tasks
    rows = order + (row - own)
    return Visits(
        cosines.reshape(-1, tasks),
        rows.unbind(-1),
        torch.split(order, 1, -1),
        torch.split((order != own).to(cosines.dtype), 1, -1),
    )


def summed(lengths: Unit, order: Int[Tensor, "*#s k k"], added: list[Tensor]) -> Float[Tensor, "*s k"]:
    """Weights of the sum of all changed gradients; `added[p]`: of whom is looked at in turn p, in units of length 1 of both."""
    tasks = order.shape[-1]
    changes = torch.cat(added, -1).view(*lengths.norms.shape[:-1], tasks, tasks)
    by_task = torch.zeros_like(changes).scatter_(-1, order.expand(changes.shape), changes)
    return 1.0 + (lengths.norms.unsqueeze(-2) @ by_task).squeeze(-2) * lengths.inverse


def surgery_weights(gramian: Float[Tensor, "*s k k"], order: Int[Tensor, "*#s k k"]) -> Float[Tensor, "*s k"]:
    """Weights of the sum of the k changed gradients of PCGrad.

    The gradient of task i visits the others in the order of row i. Where what is left of it has a negative inner product with the
    original `g_j`, its part along `g_j` is taken away. Multiplied by a number the Gramian has the same weights. A task whose
    gradient is zero changes nothing; its weight is 1. Zero Gramian, or no conflict: 1.

    Cost: k turns of five small operations, whatever the number of replicas.

    Source: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", algorithm 1 (from memory).

    Args:
        gramian: Inner products of the task gradients, of replicas.
        order: A permutation of the tasks in each row; a task meets itself without effect.
    """
    lengths = unit(gramian)
    cosines, rows, columns, others = visits(lengths.cosines, order)
    inner = cosines.clone()  # of what is left of each gradient with all the original ones
    added = []
    for row, column, other in zip(rows, columns, others, strict=True):
        change = inner.gather(-1, column).clamp_max_(0.0).neg_().mul_(other)
        inner.addcmul_(change, cosines.index_select(0, row))
        added.append(change)
    return summed(lengths, order, added).to(gramian.dtype)
