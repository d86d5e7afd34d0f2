"""Gradients of logarithms of losses, all brought to one length."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._cut import accumulator
from polytask.balancers._given import check_not_negative, check_positive
from polytask.balancers._memory import MovingAverages
from polytask.balancers._remembering import FIXED_SKETCH, RememberingBalancer
from polytask.balancers.measures import Measure, Measured
from polytask.errors import ConfigError, message


@final
class DBMTL(RememberingBalancer):
    """Dual balancing: the losses by their logarithm, their gradients by a moving average that is made as long as the longest.

    `ĝ_k ← β_t ĝ_k + (1 - β_t) ∇ log L_k`, `β_t = β / t^σ`; `w_k = (max_j |ĝ_j| / |ĝ_k|) / L_k`

    Prefer it where neither the losses' scales nor their gradients' lengths mean anything and every task shall move the shared
    part alike. Not where a task is nearly solved: its logarithm has ever longer gradients, and the longest sets the length for
    all. Not with losses that may be zero or negative.

    Cost: that of the measure in each step, and k vectors of its features.

    Source: Lin et al. 2023, "Dual-Balancing for Multi-Task Learning", algorithm 1 (checked against LibMTL, by the same authors;
    the text was not at hand).
    Differs: the average is divided by the share that is not its start at zero, as in Adam: a task that is first labelled later is
    not taken for one of small gradients, and early steps are not short. The weights multiply today's gradients, where
    the paper sends the averages: `Balance` then says what was done, and what is kept may be a sketch; a momentum of the
    optimizer averages them. A loss at or below `floor`
    counts as `floor`. A task counts its own steps t. What belongs to one task keeps the gradient of its own loss, where the
    paper takes that of the logarithm there too. A task alone has the direction of `log L`: weight `1 / L`.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: one whose features can be kept.
        beta: Share of the past in the average, from 0 and below 1.
        decay: Exponent σ with which that share falls.
        floor: Least loss that is told from smaller ones, above 0.

    Raises:
        ConfigError: If the measure cannot be kept from step to step or a number is out of its range.

    Example:
        >>> import torch
        >>> balancer, x = DBMTL(["click", "buy"], measure="parameters"), torch.nn.Parameter(torch.ones(2))
        >>> balance = balancer.backward({"click": 3 * x[0] + x[1], "buy": x[1] + 0}, shared=[x])
        >>> balance.weights["buy"]  # log L_buy has a gradient of length 1, log L_click one of sqrt(10) / 4
        tensor(1., dtype=torch.float64)
        >>> round(balance.weights["click"].item() * 10**0.5, 3)
        1.0
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        measure: str | Mapping[str, Any] | Measure = FIXED_SKETCH,
        beta: float = 0.9,
        decay: float = 0.0,
        floor: float = 1e-6,
    ) -> None:
        super().__init__(tasks, measure=measure)
        check_positive(floor=floor)
        check_not_negative(beta=beta, decay=decay)
        if beta >= 1:
            raise ConfigError(message("`beta` is the share of the past, below 1.", received=beta))
        self.beta, self.decay, self.floor = beta, decay, floor
        self.averages = MovingAverages(self.tasks)

    def remember(
        self, measured: Measured, losses: Float[Tensor, " m"], finite: Bool[Tensor, " m"], names: tuple[str, ...]
    ) -> Float[Tensor, " m"]:
        """Takes up today's gradients of the logarithms, then brings all to one length."""
        inverse = losses.clamp_min(self.floor).reciprocal()
        today = self.averages.memory.joined(measured.features, measured.places)
        today = today * inverse.to(today.dtype).unsqueeze(1)
        past = self.beta * self.averages.next_step(names) ** -self.decay
        averages = self.averages.follow(names, today, 1 - past, finite)
        return _even(averages, finite).to(losses.dtype) * inverse


def _even(vectors: Float[Tensor, "m f"], finite: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:
    """What makes all vectors as long as the longest; 0 for a zero vector."""
    lengths = vectors.to(accumulator(vectors)).norm(dim=1) * finite
    return torch.where(lengths > 0, lengths.max() / torch.where(lengths > 0, lengths, 1.0), 0.0)
