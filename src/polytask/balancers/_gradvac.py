"""Gradients turned towards each other as far as they usually agree."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers._orders import visiting_orders
from polytask.balancers._state import PairState
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.balancers.solvers import vaccine_weights
from polytask.errors import ConfigError, message


@final
class GradVac(GramianBalancer):
    """Gradient vaccine: where two gradients agree less than they did on average, one gets a part of the other.

    `d = Σ_i ĝ_i`; for each j in random order, with `c = cos(ĝ_i, g_j)` and the moving average φ of these cosines, where `c < φ`:
    `ĝ_i += ||ĝ_i|| (φ sqrt(1 - c²) - c sqrt(1 - φ²)) / (||g_j|| sqrt(1 - φ²)) g_j`, which makes the cosine φ; then
    `φ <- (1 - β) φ + β c`

    Averages start at 0: the first step is that of PCGrad.

    Prefer it over PCGrad where tasks are akin and mostly agree (languages of one family): it acts on less agreement than usual,
    not on conflict alone. Not with tasks that disagree for good: averages below 0 let it do less than PCGrad. It does not bring
    losses to one scale.

    Size: as the plain sum; weights are 1 or more where averages are not negative, and grow with every gradient that is turned.
    Keep the learning rate, or lower it with many tasks that agree well.

    Cost: the measure, and k turns on k by k numbers; k² numbers of state. See `GramianBalancer`.

    Source: Wang et al. 2021, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively Multilingual
    Models", algorithm 1 and eq. 3 (not at hand; checked against two implementations, which differ in when the average moves:
    here in each visit). β from memory.
    Differs: one average for a pair of tasks over all that is measured, not one for each layer. Averages beyond 1 - 1e-6 count as
    that. The orders are drawn from the names of tasks, by a generator of their own whose place is part of the state.

    Args:
        tasks: Names of the k tasks.
        beta: Share of a new cosine in its average, in [0, 1]; with 0 it is PCGrad.
        seed: Of the random orders.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If `beta` is not in [0, 1].

    Example:
        >>> balancer = GradVac(["click", "buy"], beta=1.0)
        >>> for turn in ([0.8, 0.6], [0.0, 1.0]):  # a cosine of 0.8, then of 0
        ...     x = torch.nn.Parameter(torch.zeros(2))
        ...     balance = balancer.backward({"click": x[0], "buy": turn[0] * x[0] + turn[1] * x[1]}, shared=[x])
        >>> {name: round(weight.item(), 2) for name, weight in balance.weights.items()}
        {'click': 2.33, 'buy': 2.33}
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        beta: float = 0.01,
        seed: int = 0,
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        if not 0 <= beta <= 1:
            raise ConfigError(message("`beta` lies in [0, 1].", received=beta))
        self.beta, self.seed = beta, seed
        self.targets = PairState(self.tasks)

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """Weights of the sum of all gradients as they were turned; moves the averages of pairs that are present."""
        gramian, before = measured.gramian, self.targets.at(names)
        order = visiting_orders(self.tasks, names, seed=self.seed, turn=self.steps.times).to(gramian.device)
        weights, cosines = vaccine_weights(gramian, before.to(gramian), order)
        after = before + self.beta * (cosines.to(before) - before)
        if measured.finite is not None:
            after = torch.where(measured.finite[:, None] & measured.finite, after, before)
        self.targets.put(names, after)
        return weights
