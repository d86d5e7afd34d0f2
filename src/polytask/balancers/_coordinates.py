"""Balancers that look at coordinates of the tasks' gradients, not at their inner products alone."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._comparing import ComparingBalancer
from polytask.balancers._cut import Cut, only
from polytask.balancers._ranks import across_ranks, world_size
from polytask.balancers.measures import AtParameters
from polytask.errors import ConfigError, message, nearest

Places = Literal["junction", "parameters"]


class CoordinateBalancer(ComparingBalancer):
    """A function from the tasks' gradients, coordinate by coordinate, to one gradient.

    What belongs to one task gets that task's own gradient. A task whose gradient is not finite counts as zero. With data
    parallelism gradients of parameters are averaged over ranks first; at the junction each rank has rows of its own, and what is
    made of them is averaged.

    Args:
        tasks: Names of the k tasks.
        measure: Whose coordinates: those of the shared activations ("junction": one pass through the trunk) or of the shared
            parameters ("parameters": k passes).

    Raises:
        ConfigError: If the measure is neither.
    """

    def __init__(self, tasks: Sequence[str], *, measure: Places = "junction") -> None:
        super().__init__(tasks)
        if measure not in ("junction", "parameters"):
            raise ConfigError(
                message("Coordinates are those of ...", received=measure, way_out=nearest(measure, ("junction", "parameters")))
            )
        self.measure = measure

    @abstractmethod
    def combine(
        self, rows: Mapping[int, Float[Tensor, "m *_"]], finite: Bool[Tensor, " m"], names: tuple[str, ...]
    ) -> tuple[Mapping[int, Float[Tensor, "*_"]], Float[Tensor, " m"]]:
        """One gradient for each block of coordinates, and what each task counted for.

        Args:
            rows: Gradients of the m tasks, a matrix for each place or parameter that is reached; the number of one is the same
                in every step.
            finite: Which of the m tasks count; the gradients of the others are zeros.
            names: The m tasks.
        """

    def balance(self, parts: Cut, penalty: Tensor | None) -> tuple[Float[Tensor, " m"], None]:
        """Combines at the junction, or at the parameters."""
        return (self._at_junction if self.measure == "junction" else self._exact)(parts, penalty), None

    def _at_junction(self, parts: Cut, penalty: Tensor | None) -> Tensor:
        rows = parts.rows()
        reached = {place: gradient for place, gradient in enumerate(rows) if gradient is not None}
        blocks, weights = self._combined(reached, parts.losses, parts.names)
        parts.send([blocks.get(place) for place in range(len(rows))], penalty)
        return weights

    def _exact(self, parts: Cut, penalty: Tensor | None) -> Tensor:
        measured, losses, names = AtParameters()(parts), parts.losses, parts.names
        exact = measured.exact
        if world_size() > 1:
            measured, losses, names = across_ranks(measured, losses.to(measured.gramian.dtype), names, self.tasks)
        blocks, weights = self._combined(dict(zip(measured.places, measured.features, strict=True)), losses, names)
        parts.write([] if exact is None else exact.back([blocks[place] for place in exact.places]), penalty)
        return weights[[names.index(name) for name in parts.names]]

    @torch.no_grad()
    def _combined(
        self, rows: Mapping[int, Tensor], losses: Tensor, names: tuple[str, ...]
    ) -> tuple[Mapping[int, Tensor], Tensor]:
        if not rows:
            return {}, torch.ones_like(losses)
        finite = losses.isfinite()
        for row in rows.values():
            finite = finite & row.flatten(1).isfinite().all(1)
        blocks, weights = self.combine({place: only(row, finite) for place, row in rows.items()}, finite, names)
        return blocks, weights * finite
