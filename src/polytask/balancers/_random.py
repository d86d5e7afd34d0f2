"""Weights drawn anew in every step."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._loss import LossBalancer
from polytask.balancers._places import Places


@final
class Random(LossBalancer):
    """Random weights, fresh in every step: the control that a clever balancer has to beat.

    `objective = Σ_k w_k L_k`, `w = K softmax(ε)`, `ε ~ N(0, I)`, over all K tasks

    Prefer it as a baseline: it says how much of another balancer's gain is noise that any moving weights would give. Not for
    a model that is served, and not with few steps: the weights of one step are up to tens of times apart.

    Cost: none beside the backward pass; K normal numbers a step.

    Source: Lin et al. 2022, "Reasonable Effectiveness of Random Weighting", algorithm 2 (read in the text of an implementation).
    Differs: the published weights sum to 1, which divides the learning rate by K; these sum to K. An absent task takes its
    share with it, so a step has the same draws whoever is present and in whatever order the tasks are named. They come from
    torch's generator of the device, which the trainer's checkpoints hold.

    Args:
        tasks: Names of the k tasks.

    Example:
        >>> import torch
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> balance = Random(["click", "buy"]).backward({"click": 2 * x, "buy": x**2})
        >>> round(sum(balance.weights.values()).item(), 3)
        2.0
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self._places = Places(sorted(self.tasks))

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_k w_k L_k`."""
        weights = len(self.tasks) * torch.softmax(torch.randn(len(self.tasks), device=losses.device), 0)
        return (weights[self._places.of(names, losses.device)] * losses).sum()
