"""Weights from how well each task is done already."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._loss import LossBalancer
from polytask.balancers._places import Places
from polytask.balancers._state import PerTaskState
from polytask.errors import ConfigError, message

_LEAST = 1e-4  # a performance this near to 0 or 1 counts as no nearer: its logarithm, or its weight, would vanish or explode


@final
class DynamicPriority(LossBalancer):
    """Dynamic task prioritisation: hard tasks first, as a focal loss does it with examples.

    `objective = Σ_k w_k L_k`, `w_k ∝ -(1 - κ_k)^γ log κ_k`, `Σ_k w_k = K`, `κ_k ← (1 - α) κ_k + α e^(-L_k)`

    `κ_k` is the key performance of a task, from 0 to 1. With a loss that is a mean negative log-likelihood, `e^(-L)` is the
    geometric mean of the probability that was given to what happened.

    Prefer it when the tasks are alike in kind (all classifications) and hard ones shall lead. Not when a task is hard because
    it is noisy: it will lead for ever, the opposite of what `uncertainty` does. Not for losses that are no likelihood, nor of
    unlike kinds: their κ cannot be compared.

    Cost: none beside the backward pass.

    Source: Guo et al. 2018, "Dynamic Task Prioritization for Multitask Learning", the focal weight and the moving average of
    its key performance indicator (the text was not at hand for the numbers of its equations).
    Differs: the paper takes an accuracy or the like as κ; only losses are seen here, hence `e^(-L)`. The published weights have
    no fixed sum and let a single task fade as it learns; these sum to K over the K tasks seen so far. The paper's weights of
    examples inside a task are the business of the task's loss. κ stays inside [1e-4, 1 - 1e-4]: a loss ≤ 0 counts as perfect.

    Args:
        tasks: Names of the k tasks.
        focus: γ; 0 weighs by `-log κ`, greater ones silence easy tasks.
        rate: α; share of the newest batch in κ, in (0, 1].

    Raises:
        ConfigError: If `focus` is negative or `rate` is not in (0, 1].

    Example:
        >>> import torch
        >>> x = torch.tensor(0.5, requires_grad=True)
        >>> balance = DynamicPriority(["click", "buy"]).backward({"click": 2 * x, "buy": x})
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 1.525, 'buy': 0.475}
    """

    def __init__(self, tasks: Sequence[str], *, focus: float = 1.0, rate: float = 0.1) -> None:
        super().__init__(tasks)
        if not focus >= 0:
            raise ConfigError(message("`focus` must be a number >= 0.", received=focus))
        if not 0 < rate <= 1:
            raise ConfigError(message("`rate` must lie in (0, 1].", received=rate))
        self.focus, self.rate = focus, rate
        self._places = Places(sorted(self.tasks))
        self.performance = PerTaskState(self.tasks, fill=0.0)  # 0: not seen yet

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_k w_k L_k`."""
        self._look(losses.detach(), names)
        kappa = self.performance.at(self._places.order)  # sorted names: sums round alike in whatever order the tasks are given
        urgency = torch.where(kappa > 0, -((1 - kappa) ** self.focus) * torch.log(kappa), 0.0)
        weights = (kappa > 0).sum() / urgency.sum() * urgency
        return (weights[self._places.of(names, losses.device)] * losses).sum()

    @torch.no_grad()
    def _look(self, losses: Tensor, names: Sequence[str]) -> None:
        before, now = self.performance.at(names), torch.exp(-losses).to(self.performance.value).clamp(_LEAST, 1 - _LEAST)
        after = torch.where(before > 0, torch.lerp(before, now, self.rate), now)
        self.performance.put(names, torch.where(torch.isfinite(losses), after, before))
