"""Gradients that are turned towards others, one after another, until their angles are the usual ones."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polytask.balancers.solvers._surgery import summed, visits
from polytask.balancers.solvers._unit import unit

_LIMIT = 1.0 - 1e-6  # a target of 1 would need an infinite multiple


def vaccine_weights(
    gramian: Float[Tensor, "*s k k"], targets: Float[Tensor, "*#s k k"], order: Int[Tensor, "*#s k k"]
) -> tuple[Float[Tensor, "*s k"], Float[Tensor, "*s k k"]]:
    """Weights of the sum of the k changed gradients of GradVac, and the cosines that its moving average is taken of.

    The gradient of task i visits the others in the order of row i. Where the cosine c of what it has become with the original
    `g_j` is below the target φ = `targets[i, j]`, it gets as much of `g_j` as makes it φ:
    `||g_i|| (φ sqrt(1 - c²) - c sqrt(1 - φ²)) / (||g_j|| sqrt(1 - φ²))`. Multiplied by a number the Gramian has the same weights.

    A task whose gradient is zero changes nothing; its weight is 1, its cosines are 0. Targets beyond 1 - 1e-6 are held there.

    Cost: k turns of some twenty small operations, whatever the number of replicas.

    Source: Wang et al. 2021, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively Multilingual
    Models", algorithm 1 and eq. 3 (from memory).

    Args:
        gramian: Inner products of the task gradients, of replicas.
        targets: Cosine that task i should have with task j at least.
        order: A permutation of the tasks in each row; a task meets itself without effect.

    Returns:
        The weights, and in row i and column j the cosine that i found when it met j, before it was changed; 1 with itself.
    """
    lengths = unit(gramian)
    cosines, rows, columns, others = visits(lengths.cosines, order)
    wanted = targets.detach().double().expand(lengths.cosines.shape).gather(-1, order.expand(lengths.cosines.shape))
    wanted = wanted.clamp(-_LIMIT, _LIMIT).reshape(cosines.shape)
    wanted_sines = (1.0 - wanted * wanted).sqrt()
    real = (lengths.norms > 0).to(cosines.dtype).reshape(-1, 1)
    inner, size = cosines.clone(), torch.ones_like(real)
    added, found = [], []
    turns = zip(rows, columns, others, torch.split(wanted, 1, -1), torch.split(wanted_sines, 1, -1), strict=True)
    for row, column, other, cosine, sine in turns:
        now = (inner.gather(-1, column) / size).clamp_(-1.0, 1.0)
        now_sine = (1.0 - now * now).sqrt_()
        acts = (now < cosine) * other * real * real.index_select(0, row)
        change = acts * size * (cosine * now_sine / sine - now)
        inner.addcmul_(change, cosines.index_select(0, row))
        size = torch.where(acts > 0, size * now_sine / sine, size).clamp_min(1e-150)
        added.append(change)
        found.append(now)
    seen = torch.cat(found, -1).view(lengths.cosines.shape)
    seen = torch.zeros_like(seen).scatter_(-1, order.expand(seen.shape), seen)
    seen.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    return summed(lengths, order, added).to(gramian.dtype), seen.to(gramian.dtype)
