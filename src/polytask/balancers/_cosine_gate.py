"""Auxiliary tasks count only where their gradient points the main tasks' way."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import Given, check_names
from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.errors import ConfigError, message


@final
class CosineGate(GramianBalancer):
    """Main tasks count fully; an auxiliary one counts by the cosine of its gradient with theirs, and never against them.

    `w_main = 1`; weighted `w_k = max(0, cos(g_k, g_main))`, else `w_k = 1 where cos(g_k, g_main) >= 0`; `g_main = Σ_main g_j`

    Prefer it where a few tasks are served and the others are there to help them. Not where all tasks are served.

    Cost: that of the measure; cosines of small batches are noisy, so half of what is orthogonal in expectation is dropped.

    Source: Du et al. 2018, "Adapting Auxiliary Losses Using Gradient Similarity", the weighted and the unweighted form (equation
    numbers: the text was not at hand).
    Differs: several main tasks count as their sum. In a step without a main task, or where their gradient is zero, there is no
    cosine: the auxiliary tasks weigh what they weighed last. What belongs to one task keeps that task's own gradient.

    Args:
        tasks: Names of the k tasks.
        main: Names of the tasks that the others shall help.
        weighted: Whether an auxiliary task counts by its cosine, or fully wherever that is not negative.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If `main` is empty or names no task, the measure is unknown or `every` is below 1.

    Example:
        >>> import torch
        >>> balancer = CosineGate(["buy", "click", "like"], main=["buy"], measure="parameters")
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> losses = {"buy": 2 * x[0], "click": 3 * x[0] + 4 * x[1], "like": x[1] - x[0]}
        >>> {name: round(weight.item(), 3) for name, weight in balancer.backward(losses, shared=[x]).weights.items()}
        {'buy': 1.0, 'click': 0.6, 'like': 0.0}
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        main: Sequence[str],
        weighted: bool = True,
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        if isinstance(main, str) or not main:
            raise ConfigError(message("`main` lists at least one task.", received=repr(main), way_out='main = ["buy"]'))
        check_names(self.tasks, main, what="main task")
        self.main, self.weighted = tuple(main), weighted
        self._is_main = Given(self.tasks, {name: float(name in main) for name in self.tasks}, what="share")

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:
        """Gates of the auxiliary tasks; 1 for the main ones."""
        gramian, last = measured.gramian, self.last.at(names).to(losses.dtype)
        main = self._is_main.at(names).to(gramian.dtype)
        counted = main if measured.finite is None else main * measured.finite
        along = gramian @ counted
        lengths = gramian.diagonal().clamp_min(0).sqrt() * (counted @ along).clamp_min(0).sqrt()
        cosine = along / torch.where(lengths > 0, lengths, 1.0)
        gate = cosine.clamp(0, 1) if self.weighted else (cosine >= 0).to(gramian.dtype)
        gate = torch.where(counted @ along > 0, gate, last)
        return torch.where(main > 0, 1.0, gate).to(losses.dtype)
