"""Auxiliary gradients are made as long as the main task's, parameter by parameter."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._coordinates import CoordinateBalancer, Places
from polytask.balancers._cut import accumulator
from polytask.balancers._given import Given, check_names
from polytask.balancers._memory import MovingAverages
from polytask.errors import ConfigError, message


@final
class MetaBalance(CoordinateBalancer):
    """Brings the gradients of auxiliary tasks to the length of the main task's, each parameter on its own.

    `Σ_k g_k (r m_main / m_k + 1 - r)` for each parameter, `m_k ← β m_k + (1 - β) |g_k|`; r = 0 is the plain sum

    Prefer it where one task is the aim and the others' gradients would drown it in some layers (tables of a large recommender)
    and starve in others. Not where all tasks are served: the main task alone sets every length.

    Cost: k passes through the trunk and k copies of its gradients; at the junction one pass and one length for each place.

    Source: He et al. 2022, "MetaBalance: Improving Multi-Task Recommendations via Adapting Gradient Magnitudes of Auxiliary
    Tasks", algorithm 1 (checked against the official code; the text was not at hand). Of its strategies the one that makes
    gradients shorter and longer alike.
    Differs: averages are divided by the share that is not their start at zero, which changes nothing where all tasks were there
    from the first step. A parameter that the main task does not reach, and an auxiliary gradient that was always zero, stay as
    they are. In a step without the main task its last average holds. What belongs to one task keeps that task's own gradient.

    Args:
        tasks: Names of the k tasks.
        main: The task whose gradients set the length.
        relax: r, from 0 to 1: how far lengths are brought to it.
        beta: Share of the past in the averages, from 0 and below 1.
        measure: Whose gradients: "parameters" (each shared parameter) or "junction" (each place of shared activations).

    Raises:
        ConfigError: If `main` names no task, the measure is neither or a number is out of its range.

    Example:
        >>> import torch
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> balancer = MetaBalance(["buy", "click"], main="buy", relax=1.0)
        >>> _ = balancer.backward({"buy": x[0] + 0, "click": 50 * x[1]}, shared=[x])
        >>> x.grad.round(decimals=3)
        tensor([1., 1.])
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        main: str,
        relax: float = 0.7,
        beta: float = 0.9,
        measure: Places = "parameters",
    ) -> None:
        super().__init__(tasks, measure=measure)
        check_names(self.tasks, [main], what="main task")
        if not 0 <= relax <= 1:
            raise ConfigError(message("`relax` lies from 0 to 1.", received=relax))
        if not 0 <= beta < 1:
            raise ConfigError(message("`beta` is the share of the past, from 0 and below 1.", received=beta))
        self.main, self.relax, self.beta = main, relax, beta
        self.lengths = MovingAverages(self.tasks)
        self._is_main = Given(self.tasks, {name: float(name == main) for name in self.tasks}, what="share")

    def combine(
        self,
        rows: Mapping[int, Float[Tensor, "m *_"]],
        finite: Bool[Tensor, " m"],
        names: tuple[str, ...],
    ) -> tuple[Mapping[int, Float[Tensor, "*_"]], Float[Tensor, " m"]]:
        """The sum of the scaled gradients; the weight of a task is the length it has over the length it had."""
        own = [torch.linalg.vector_norm(g.flatten(1), dim=1, keepdim=True, dtype=accumulator(g)) for g in rows.values()]
        today = self.lengths.memory.joined(own, tuple(rows))
        rate = torch.full_like(today[:, 0], 1 - self.beta)
        averages = self.lengths.memory.split(self.lengths.follow(names, today, rate, finite), tuple(rows))
        targets = self.lengths.memory.split(self.lengths.at([self.main]), tuple(rows))
        kept, before, after = dict[int, Tensor](), torch.zeros_like(rate), torch.zeros_like(rate)
        for (place, g), length, average, target in zip(rows.items(), own, averages, targets, strict=True):
            ratio = torch.where((average > 0) & (target > 0), target / torch.where(average > 0, average, 1.0), 1.0)
            factor = torch.where(self._is_main.at(names) > 0, 1.0, self.relax * ratio.squeeze(1) + (1 - self.relax))
            kept[place] = torch.tensordot(factor.to(g.dtype), g, 1)
            before, after = before + length.squeeze(1).square(), after + (factor * length.squeeze(1)).square()
        return kept, torch.where(before > 0, (after / torch.where(before > 0, before, 1.0)).sqrt(), 1.0)
