"""Weights learned from what a step did to each loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import check_positive
from polytask.balancers._loss import LossBalancer
from polytask.balancers._positive import at_least
from polytask.balancers._state import PerTaskState
from polytask.errors import ConfigError, message

_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8  # of Adam, as everybody has them


@final
class FAMO(LossBalancer):
    """Fast adaptive multi-task optimisation: all losses shall fall by the same share in each step.

    `objective = m c Σ_k z_k log L_k`, `z = softmax(ξ)`, `c = 1 / Σ_k (z_k / L_k)` over the m present tasks, z and c without
    gradient; after the step, on the same batch, `ξ ← ξ - Adam(δ + γ ξ)` with `δ = J_softmaxᵀ (log L_before - log L_after)`

    A task whose loss fell by more than the others' weighs less in the next step.

    Prefer it when losses differ in scale and in speed and gradients of each task cost too much. Not where the second look is
    dear, and not when a task cannot be learned at all: it takes all the weight.

    Cost: one more forward pass without gradient each step (about a third of a step); memory as without a balancer.

    Source: Liu et al. 2023, "FAMO: Fast Adaptive Multitask Optimization", algorithm 1 (checked against the official
    code as two libraries restate it; the text was not at hand).
    Differs: m times the paper's direction, so that a task alone trains as without a balancer. A loss at or below `floor` counts
    as `floor` and is minimised still. A task without a loss, or with one that is no number, keeps its ξ and its moments; each
    task counts its own steps. Moments are part of the state. With accumulated batches the last one is looked at.

    In a loop of your own, call `after_step(losses)` after the optimizer's step, where `losses()` evaluates the same batch with
    the same dropout; else the noise of dropout is taken for progress. `polytask.train.train_step` puts the random state back.

    Args:
        tasks: Names of the k tasks.
        lr: Rate of the Adam of ξ.
        decay: γ; draws ξ to 0, that is the weights to one another.
        floor: Least loss that is told from smaller ones, above 0.

    Raises:
        ConfigError: If `lr` or `floor` is not above 0, or `decay` is negative.

    Example:
        >>> import torch
        >>> balancer = FAMO(["click", "buy"])
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> balance = balancer.backward({"click": 2 * x, "buy": 3 * x**2})
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 1.5, 'buy': 0.5}
        >>> with torch.no_grad():  # the optimizer's step
        ...     _ = x.sub_(0.1)
        >>> balancer.after_step(lambda: {"click": 2 * x, "buy": 3 * x**2})
        >>> balancer.logits.value  # the loss of "buy" fell by the greater share
        tensor([ 0.0250, -0.0250])
    """

    def __init__(self, tasks: Sequence[str], *, lr: float = 0.025, decay: float = 1e-3, floor: float = 1e-6) -> None:
        super().__init__(tasks)
        check_positive(lr=lr, floor=floor)
        if not decay >= 0:
            raise ConfigError(message("`decay` must be a number >= 0.", received=decay))
        self.lr, self.decay, self.floor = lr, decay, floor
        self.logits = PerTaskState(self.tasks)
        self.mean, self.square, self.count = (PerTaskState(self.tasks) for _ in range(3))  # of Adam
        self._seen: tuple[tuple[str, ...], Tensor] | None = None

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`m c Σ_k z_k log L_k`."""
        positive = at_least(losses, self.floor)
        with torch.no_grad():
            finite = torch.isfinite(losses)
            z = torch.softmax(self.logits.at(names).masked_fill(~finite, -torch.inf), 0)
            scale = finite.sum() / (z / positive).masked_fill(~finite, 0.0).sum()
        self._seen = (tuple(names), losses.detach())
        return scale * (z * torch.log(positive)).sum()

    @torch.no_grad()
    def after_step(self, losses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Learns from how much each loss fell."""
        seen, self._seen = self._seen, None
        if seen is None:
            return
        now = losses()
        if set(now) != set(seen[0]):
            expected = "`losses()` must evaluate the batch of the last `backward`."
            raise ConfigError(message(expected, received=f"losses of {sorted(now)}, before of {sorted(seen[0])}"))
        names, before = seen
        after = torch.stack([now[name] for name in names]).to(before)
        fall = before.clamp_min(self.floor).log() - after.clamp_min(self.floor).log()
        self._learn(names, fall.to(self.logits.value.dtype))

    def _learn(self, names: Sequence[str], fall: Float[Tensor, " k"]) -> None:
        finite, logits = torch.isfinite(fall), self.logits.at(names)
        z = torch.softmax(logits.masked_fill(~finite, -torch.inf), 0)
        fall = fall.masked_fill(~finite, 0.0)
        gradient = z * (fall - (z * fall).sum()) + self.decay * logits
        mean, square, count = self.mean.at(names), self.square.at(names), self.count.at(names)
        steps = count + 1
        new_mean, new_square = torch.lerp(gradient, mean, _FIRST), torch.lerp(gradient**2, square, _SECOND)
        move = (new_mean / (1 - _FIRST**steps)) / ((new_square / (1 - _SECOND**steps)).sqrt() + _TINY)
        self.logits.put(names, torch.where(finite, logits - self.lr * move, logits))
        self.mean.put(names, torch.where(finite, new_mean, mean))
        self.square.put(names, torch.where(finite, new_square, square))
        self.count.put(names, torch.where(finite, steps, count))
