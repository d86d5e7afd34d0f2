"""Weights learned from inner products of gradients whose noises are independent."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._cut import accumulator
from polytask.balancers._memory import Memory
from polytask.balancers._remembering import FIXED_SKETCH, RememberingBalancer
from polytask.balancers._shares import Shares
from polytask.balancers._state import PerTaskState
from polytask.balancers.measures import Measure, Measured


class DoubleSamplingBalancer(RememberingBalancer):
    """`A_ij = <g_i(ξ_t), g_j(ξ_(t-1))> / s`: an estimate of the Gramian whose diagonal holds no variance of the batches.

    `s = (mean_k sqrt(|g_k(ξ_t)| |g_k(ξ_(t-1))|))²` frees rates of the gradients' unit. The weights of a step are those that the
    steps before it made, so they do not depend on the noise of the gradients that they multiply: three samples a step, of which
    each batch serves as all three in turn.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: one whose features can be kept.
    """

    def __init__(self, tasks: Sequence[str], *, measure: str | Mapping[str, Any] | Measure = FIXED_SKETCH) -> None:
        super().__init__(tasks, measure=measure)
        self.before = Memory(self.tasks)
        self.seen = PerTaskState(self.tasks)
        self.shares = Shares(self.tasks)

    @abstractmethod
    def improve(self, shares: Float[Tensor, " m"], cross: Float[Tensor, "m m"], among: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Shares after the step that `cross` asks for.

        Args:
            shares: Shares so far; they sum to 1 over the tasks that count.
            cross: The matrix A, zeros for the other tasks.
            among: Which tasks count.
        """

    @abstractmethod
    def counted(self, shares: Float[Tensor, " m"], among: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:
        """What each task counts for, with sum 1."""

    def remember(
        self,
        measured: Measured,
        losses: Float[Tensor, " m"],  # noqa: ARG002 - gradients alone decide
        finite: Bool[Tensor, " m"],
        names: tuple[str, ...],
    ) -> Float[Tensor, " m"]:
        """Weights that earlier steps made; then today's gradients meet those of the step before."""
        today, before = self.before.joined(measured.features, measured.places), self.before.at(names)
        weights = finite.sum() * self.counted(self.shares.at(names, finite), finite)
        seen = self.seen.at(names)
        among = finite & (seen > 0)
        wide, earlier = today.to(accumulator(today)), before.to(accumulator(today))
        cross = (wide @ earlier.mT) * (among[:, None] & among)
        lengths = (wide.norm(dim=1) * earlier.norm(dim=1)).sqrt()
        scale = ((lengths * among).sum() / among.sum().clamp_min(1)).square()
        cross = cross / torch.where(scale > 0, scale, 1.0)
        self.shares.put(names, self.improve(self.shares.at(names, among), cross, among), among)
        self.before.put(names, today, finite)
        self.seen.put(names, torch.where(finite, 1.0, seen))
        return weights
