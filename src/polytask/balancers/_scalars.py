"""A learned scalar of each task, held inside bounds."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message

_PREFIX = "task_"  # keeps a task called "keys" or "train" from hiding a method of nn.ParameterDict


@final
class BoundedScalars(nn.ParameterDict):
    """One parameter a task: in a vector, the momenta of an optimizer would move the entries of absent tasks.

    Args:
        tasks: Names of the k tasks.
        init: Where every scalar starts.
        bounds: Least and greatest value.

    Raises:
        ConfigError: If `init` is outside `bounds`.
    """

    def __init__(self, tasks: Sequence[str], *, init: float, bounds: tuple[float, float]) -> None:
        if len(bounds) != 2 or not bounds[0] <= init <= bounds[1]:
            raise ConfigError(message("`init` must lie inside `bounds`.", received=f"init {init}, bounds {tuple(bounds)}"))
        super().__init__({_PREFIX + name: nn.Parameter(torch.tensor(float(init))) for name in tasks})
        self.bounds = (float(bounds[0]), float(bounds[1]))

    def of(self, task: str) -> nn.Parameter:
        """The parameter of one task."""
        # Not through the lookup of attributes: for k of them it is slow.
        return self._parameters[_PREFIX + task]  # type: ignore[return-value]

    def at(self, names: Sequence[str]) -> Float[Tensor, " k"]:
        """The parameters of some tasks as one vector, each inside the bounds."""
        own: list[Tensor] = [self.of(name) for name in names]
        # Projected, not clamped in the graph: beyond a bound a clamp has no gradient to come back by.
        with torch.no_grad():
            torch._foreach_clamp_min_(own, self.bounds[0])
            torch._foreach_clamp_max_(own, self.bounds[1])
        return torch.stack(own)
