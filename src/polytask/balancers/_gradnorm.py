"""Weights that are learned until every task's gradient has the length that its progress asks for."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import check_names, check_positive
from polytask.balancers._gradient import GramianBalancer
from polytask.balancers._state import PerTaskState
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.errors import ConfigError, message

_DECAY, _DECAY_OF_SQUARES, _EPSILON = 0.9, 0.999, 1e-8  # those of Adam
_LEAST = 1e-3  # no weight falls below, so that each can come back


@final
class GradNorm(GramianBalancer):
    """GradNorm: weights are learned so that weighted gradients are equally long, longer for tasks that lag behind.

    `w <- Adam(w, ∂L_grad / ∂w)`, then `Σ w` as before; `L_grad = Σ_i | w_i ||g_i|| - mean_j(w_j ||g_j||) r_i^alpha |` with its
    second term held fast; `r_i = (L_i / L_i0) / mean_j(L_j / L_j0)`, L_i0 the task's first loss

    Prefer it where lengths of gradients differ by a known cause (units, numbers of outputs) and tasks should progress together.
    Not against conflict (it compares lengths, not angles), nor with losses that may be negative or start near zero: progress is a
    ratio to the first loss, which one odd batch can spoil. Then give `initial`.

    Size: weights start at 1 and sum to k over all tasks; keep the learning rate.

    Cost: the measure (lengths only), six numbers a task of state.

    Source: Chen et al. 2018, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", eq. 2 and
    algorithm 1 (not at hand); the rate of 0.025 from memory.
    Differs: Adam is part of the method, and sees gradients divided by the mean length, so that no scale matters. Weights stay
    above 1e-3. Present tasks share what they had; an absent task keeps its weight, its first loss and its momenta. With
    LibMTL's softmax in place of the sum, a weight's step depends on all others.

    Args:
        tasks: Names of the k tasks.
        alpha: How strongly tasks that lag behind are pulled; 0 makes all weighted gradients equally long.
        lr: Step of the weights, above 0.
        initial: Loss before any training of tasks by name, above 0: `log C` for a cross-entropy of C classes. Of others the first
            loss that is not 0 is kept.
        measure: Where lengths are measured: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If `alpha` is negative, `lr` or a number of `initial` not above 0, or `initial` names no task.

    Example:
        >>> balancer = GradNorm(["click", "buy"], alpha=0.0)
        >>> for _ in range(200):
        ...     x = torch.nn.Parameter(torch.ones(2))
        ...     balance = balancer.backward({"click": 3 * x[0], "buy": x[1]}, shared=[x])
        >>> {name: round(weight.item(), 1) for name, weight in balance.weights.items()}
        {'click': 0.5, 'buy': 1.5}
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        alpha: float = 1.5,
        lr: float = 0.025,
        initial: Mapping[str, float] | None = None,
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        if not 0 <= alpha < float("inf"):
            raise ConfigError(message("`alpha` must be a number >= 0.", received=alpha))
        check_positive(lr=lr)
        given = dict(initial or {})
        check_names(self.tasks, given, what="initial loss")
        check_positive(**{f"initial.{name}": number for name, number in given.items()})
        self.alpha, self.lr = alpha, lr
        self.weights = PerTaskState(self.tasks, fill=1.0)
        self.first = PerTaskState(self.tasks)  # 0: not known yet
        self.first.put(self.tasks, torch.tensor([float(given.get(name, 0.0)) for name in self.tasks]))
        self.turns, self.momentum, self.squares = PerTaskState(self.tasks), PerTaskState(self.tasks), PerTaskState(self.tasks)

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:
        """The weights as they are; then they are moved."""
        weights = self.weights.at(names).to(losses, copy=True)
        among = torch.ones_like(losses) if measured.finite is None else measured.finite.to(losses)
        norms = measured.gramian.diagonal().clamp_min(0.0).sqrt()
        lengths = weights * norms
        side = torch.sign(lengths - _mean(lengths, among) * self._lag(losses, among, names) ** self.alpha)
        self._move(weights, side * norms / _divisor(_mean(norms, among)), among, names)
        return weights

    def _lag(self, losses: Tensor, among: Tensor, names: tuple[str, ...]) -> Tensor:
        """`r`: 1 where a task has come as far as the others, more where it lags behind."""
        first = self.first.at(names).to(losses)
        first = torch.where((first == 0) & (among > 0), losses, first)
        self.first.put(names, first)
        left = (losses / _divisor(first)).clamp_min(0.0)
        return left / _divisor(_mean(left, among))

    def _move(self, weights: Tensor, gradient: Tensor, among: Tensor, names: tuple[str, ...]) -> None:
        turns = self.turns.at(names).to(weights) + 1
        momentum = torch.lerp(gradient, self.momentum.at(names).to(weights), _DECAY)
        squares = torch.lerp(gradient.square(), self.squares.at(names).to(weights), _DECAY_OF_SQUARES)
        size = (squares / (1 - _DECAY_OF_SQUARES**turns)).sqrt() + _EPSILON
        moved = (weights - self.lr * momentum / (1 - _DECAY**turns) / size).clamp_min(_LEAST)
        moved = moved * (_mean(weights, among) / _mean(moved, among))
        for state, value in ((self.turns, turns), (self.momentum, momentum), (self.squares, squares), (self.weights, moved)):
            state.put(names, torch.where(among > 0, value, state.at(names).to(value)))


def _mean(values: Float[Tensor, " m"], among: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    return (values * among).sum() / among.sum().clamp_min(1.0)


def _divisor(values: Tensor) -> Tensor:
    return torch.where(values == 0, 1.0, values)
