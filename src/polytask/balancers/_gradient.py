"""Balancers that compare the tasks' gradients: measured at one place, decided on k by k numbers, sent back once."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._comparing import ComparingBalancer
from polytask.balancers._cut import Cut, only, weighted_sum
from polytask.balancers._ranks import across_ranks, world_size
from polytask.balancers._state import Count, PerTaskState
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured, build_measure
from polytask.errors import ConfigError, message


class GramianBalancer(ComparingBalancer):
    """A function from the inner products of task gradients to a weight a task: most gradient methods are that.

    `∂/∂shared = Σ_k w_k ∂L_k/∂shared`, `w = weigh(G)`; what belongs to one task gets that task's own gradient.

    A task whose gradient is not finite is absent: its weight is 0, and zeros go on in its place.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If the measure is unknown or `every` is below 1.
    """

    def __init__(
        self, tasks: Sequence[str], *, measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE, every: int = 1
    ) -> None:
        super().__init__(tasks)
        if every < 1:
            raise ConfigError(message("Gradients are measured every so many steps, at least 1.", received=every))
        self.measure, self.every = build_measure(measure), every
        self.steps = Count()
        self.last = PerTaskState(self.tasks, fill=1.0)

    @abstractmethod
    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:
        """Weight of each of m tasks; state of tasks that are not among them stays.

        Args:
            measured: Inner products of the m gradients, and what they are of.
            losses: The m losses, detached, in float64 where the device has it.
            names: The m tasks.
        """

    def balance(self, parts: Cut, penalty: Tensor | None) -> tuple[Float[Tensor, " m"], Float[Tensor, "m m"] | None]:
        """Weighs by what is measured, or by the last weights between measurements."""
        if self.steps.next() % self.every:
            return self._again(parts, penalty), None
        return self._measured(parts, penalty)

    def _again(self, parts: Cut, penalty: Tensor | None) -> Tensor:
        finite = parts.losses.isfinite()
        if finite.device.type != "cpu" or not finite.all():
            parts.keep(finite)
        weights = self.last.at(parts.names) * finite
        parts.send(parts.weighted(weights), penalty)
        return weights

    def _measured(self, parts: Cut, penalty: Tensor | None) -> tuple[Tensor, Tensor]:
        measured = self.measure(parts)
        values, names = parts.losses.to(measured.gramian.dtype), parts.names
        if world_size() > 1:
            measured, values, names = across_ranks(measured, values, names, self.tasks)
        with torch.no_grad():
            weights, finite = self._decide(measured, values, names)
        self.last.put(names, weights if finite is None else torch.where(finite, weights, self.last.at(names)))
        here = slice(None) if names == parts.names else [names.index(name) for name in parts.names]
        if measured.exact is None:
            if finite is not None:
                parts.keep(finite[here])
            parts.send(parts.weighted(weights[here]), penalty)
        else:
            features = dict(zip(measured.places, measured.features, strict=True))
            rows = [features[place] if finite is None else only(features[place], finite) for place in measured.exact.places]
            parts.write(measured.exact.back([weighted_sum(weights, row) for row in rows]), penalty)
        return weights[here], measured.gramian if names == parts.names else measured.gramian[here][:, here]

    def _decide(self, measured: Measured, losses: Tensor, names: tuple[str, ...]) -> tuple[Tensor, Tensor | None]:
        """Weights, and which gradients are finite: None where it is known that all are."""
        finite = losses.isfinite() & measured.gramian.diagonal().isfinite()
        if finite.device.type != "cpu":  # to look would be to wait: a lost task stands as one of norm 1 that meets no other
            alone = torch.eye(len(names), dtype=losses.dtype, device=losses.device)
            gramian = torch.where(finite[:, None] & finite, measured.gramian, alone)
            features = [only(feature, finite) for feature in measured.features]
            known = Measured(gramian, features, None, measured.places, finite)
            return self.weigh(known, torch.where(finite, losses, 1.0), names) * finite, finite
        if finite.all():
            return self.weigh(measured, losses, names), None
        weights, kept = torch.zeros_like(losses), finite.nonzero().squeeze(1)
        if len(kept):
            features = [feature[kept] for feature in measured.features]
            part = Measured(measured.gramian[kept][:, kept], features, None, measured.places)
            weights[kept] = self.weigh(part, losses[kept], tuple(names[place] for place in kept.tolist())).to(weights.dtype)
        return weights, finite
