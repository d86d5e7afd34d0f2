"""Weights that grow where most is still to be learned."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._cut import accumulator
from polytask.balancers._given import check_positive
from polytask.balancers._memory import Memory
from polytask.balancers._positive import shared_out
from polytask.balancers._remembering import FIXED_SKETCH, RememberingBalancer
from polytask.balancers._state import PerTaskState
from polytask.balancers.measures import Measure, Measured


@final
class ExcessMTL(RememberingBalancer):
    """Weights by the excess risk: what a task's loss could still fall by, whatever noise of the labels stays in it.

    `E_k = Σ_f g_kf² / sqrt(Σ_t g_kf(t)²)`, `w ← m softmax(log w + η E_k / E_k(1))` with `E_k(1)` of the task's first step

    The sum of squared gradients stands for the curvature, as in Adagrad; so E estimates a second-order gain.

    Prefer it where some tasks' labels are noisy: methods that follow the loss itself spend their weight on noise that cannot be
    learned. Not in long runs with a large η: weights are products over all steps and end near one task.

    Cost: that of the measure in each step, and k vectors of its features.

    Source: He et al. 2024, "Robust Multi-Task Learning with Excess Risks", eq. 6, 7 and 9 (numbers as TorchJD gives them; checked
    against two implementations made from the official code, the text was not at hand).
    Differs: nothing is added under the root or to `E_k(1)`, where the official code adds 1e-7: tasks of small gradients count the
    same. A task whose gradients have all been zero has E = 0. The logarithms of the weights are kept: no weight is lost to
    rounding. Coordinates are those of the measure's features: of a sketch, of the last shared layer, or of all shared
    parameters (as published). What belongs to one task keeps that task's own gradient.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: one whose features can be kept.
        lr: Rate η of the weights.

    Raises:
        ConfigError: If the measure cannot be kept from step to step or `lr` is not above 0.

    Example:
        >>> import torch
        >>> balancer, x = ExcessMTL(["click", "buy"], measure="parameters", lr=1.0), torch.nn.Parameter(torch.ones(2))
        >>> for scale in (1.0, 0.5):  # the gradient of "buy" becomes smaller
        ...     balance = balancer.backward({"click": x[0] + x[1], "buy": scale * x[1]}, shared=[x])
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 1.237, 'buy': 0.763}
    """

    def __init__(
        self, tasks: Sequence[str], *, measure: str | Mapping[str, Any] | Measure = FIXED_SKETCH, lr: float = 0.01
    ) -> None:
        super().__init__(tasks, measure=measure)
        check_positive(lr=lr)
        self.lr = lr
        self.squares = Memory(self.tasks)
        self.first, self.logits = PerTaskState(self.tasks), PerTaskState(self.tasks)

    def remember(
        self,
        measured: Measured,
        losses: Float[Tensor, " m"],  # noqa: ARG002 - gradients alone decide
        finite: Bool[Tensor, " m"],
        names: tuple[str, ...],
    ) -> Float[Tensor, " m"]:
        """Adds up squares, then one multiplicative step of the weights."""
        today = self.squares.joined(measured.features, measured.places)
        squares = self.squares.at(names) + today.square()
        excess = (today.square() * torch.where(squares > 0, squares, 1.0).rsqrt()).sum(1, dtype=accumulator(today))
        first = self.first.at(names)
        first = torch.where(first > 0, first, excess.to(first.dtype))
        ratio = excess / torch.where(first > 0, first, 1.0)
        logits = self.logits.at(names)
        grown = logits + self.lr * ratio
        # Together they keep the weight that they had beside tasks that are not here.
        grown = grown - _total(grown, finite) + _total(logits, finite)
        self.squares.put(names, squares, finite)
        self.first.put(names, torch.where(finite, first, self.first.at(names)))
        self.logits.put(names, torch.where(finite, grown, logits.to(grown.dtype)))
        return shared_out(grown, finite)


def _total(logits: Float[Tensor, " m"], finite: Bool[Tensor, " m"]) -> Tensor:
    total = torch.logsumexp(logits.masked_fill(~finite, -torch.inf), 0)
    return torch.where(finite.any(), total, 0.0)
