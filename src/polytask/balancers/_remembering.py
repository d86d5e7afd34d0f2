"""Balancers that keep gradients from step to step."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._cut import Cut
from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import AtAllLayers, AtJunction, Measure, Measured, Sketched, build_measure
from polytask.errors import ConfigError, PolytaskError, message

FIXED_SKETCH: Final = {"name": "sketched", "fixed": True}
_WAY_OUT = "measure={'name': 'sketched', 'fixed': True}, 'last_layer' or 'parameters' have gradients that can be kept."


class RememberingBalancer(GramianBalancer):
    """A function from today's gradients and those kept of earlier steps to a weight a task.

    A sketch with fixed directions keeps what is remembered small. Gradients are measured in every step. Where nothing is shared
    in a step (a task alone, in a graph without a junction) all weigh 1 and nothing is remembered.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: one whose features can be kept.

    Raises:
        ConfigError: If the measure gives no gradients of parameters (`junction`) or other directions each time.
    """

    def __init__(self, tasks: Sequence[str], *, measure: str | Mapping[str, Any] | Measure = FIXED_SKETCH) -> None:
        built = build_measure(measure)
        if isinstance(built, AtJunction) or (isinstance(built, Sketched | AtAllLayers) and not built.fixed):
            name = "junction" if isinstance(built, AtJunction) else "sketched, with directions drawn anew"
            raise ConfigError(message(f"{type(self).__name__} keeps gradients of parameters.", received=name, way_out=_WAY_OUT))
        super().__init__(tasks, measure=built)

    @abstractmethod
    def remember(
        self, measured: Measured, losses: Float[Tensor, " m"], finite: Bool[Tensor, " m"], names: tuple[str, ...]
    ) -> Float[Tensor, " m"]:
        """Weight of each of m tasks; what is kept of tasks that are not among them, or do not count, stays.

        Args:
            measured: Gradients of the m tasks.
            losses: The m losses.
            finite: Which tasks count: the gradients of the others are zeros.
            names: The m tasks.
        """

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:
        """Weights by what is remembered."""
        if not measured.features:
            received = "a graph in which none can be seen (compiled trunks, towers that are mixed, tables alone)"
            raise PolytaskError(message("The last shared layer is measured.", received=received, way_out="measure='parameters'"))
        finite = torch.ones_like(losses, dtype=torch.bool) if measured.finite is None else measured.finite
        return self.remember(measured, losses, finite, names).to(losses.dtype)

    def _measured(self, parts: Cut, penalty: Tensor | None) -> tuple[Tensor, Tensor]:
        if parts.edges:
            return super()._measured(parts, penalty)
        gramian = parts.gramian()
        weights = torch.ones_like(gramian.diagonal())
        parts.send(parts.weighted(weights), penalty)
        return weights, gramian
