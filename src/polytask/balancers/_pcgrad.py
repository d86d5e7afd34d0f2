"""Gradients without the parts that conflict."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers._orders import visiting_orders
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.balancers.solvers import surgery_weights


@final
class PCGrad(GramianBalancer):
    """Projecting conflicting gradients: each gradient loses the part that points against another one; then all are summed.

    `d = Σ_i ĝ_i`; for each j in random order: `ĝ_i -= <ĝ_i, g_j> / ||g_j||² g_j` where `<ĝ_i, g_j> < 0`, with the original g_j

    Prefer it with a few tasks of like scale that disagree now and then: where none conflict it is the plain sum. Not with many
    tasks (after several projections ĝ_i may conflict again with an earlier one), and not to bring losses to one scale: where
    nothing conflicts the longest gradient rules as in the sum.

    Size: as the plain sum, weights of 1 where nothing conflicts and more where something does; keep the learning rate.

    Cost: the measure, and k turns on k by k numbers. See `GramianBalancer`.

    Source: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", algorithm 1 (not at hand; checked against two
    implementations).
    Differs: the orders are drawn from the names of tasks, by a generator of their own whose place is part of the state.

    Args:
        tasks: Names of the k tasks.
        seed: Of the random orders.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Example:
        >>> import torch
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> _ = PCGrad(["click", "buy"]).backward({"click": x[0], "buy": x[1] - x[0]}, shared=[x])
        >>> x.grad
        tensor([0.5000, 1.5000])
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        seed: int = 0,
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        self.seed = seed

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """Weights of the sum of what is left of all gradients."""
        order = visiting_orders(self.tasks, names, seed=self.seed, turn=self.steps.times)
        return surgery_weights(measured.gramian, order.to(measured.gramian.device))
