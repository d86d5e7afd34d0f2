"""An average of the weights over the last steps, which is often better than the last ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from polytask.encoders import EmbeddingTable
from polytask.errors import CheckpointError, ConfigError, message


@final
class WeightAverage:
    """Exponential moving average of a model's weights, to validate and to serve.

    Formula: `a <- a + (1 - d_t) (w - a)` with `d_t = min(decay, (1 + t) / (10 + t))`, so that the start is forgotten.

    Prefer it where training ends at a high rate; after a schedule that goes to 0 there is little left to average.
    Cost: one pass over the dense weights a step, and a copy of them.
    Source: Polyak and Juditsky 1992 (averaging); the ramp of d is that of TensorFlow's `ExponentialMovingAverage`.
    Differs: embedding tables are not averaged, because an average changes in every row at every step.

    Args:
        model: Whose weights are averaged.
        decay: Memory d; 0.999 averages about the last thousand steps.

    Raises:
        ConfigError: If `decay` is outside [0, 1).

    Example:
        >>> model = nn.Linear(2, 1)
        >>> average = WeightAverage(model, decay=0.9)
        >>> average.update()
        >>> with average.applied():
        ...     prediction = model(torch.zeros(1, 2))
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(message("The memory of an average is in [0, 1).", received=decay))
        tables = {module.weight for module in model.modules() if isinstance(module, EmbeddingTable)}
        self.decay, self.num_updates = decay, 0
        self._live = {name: parameter for name, parameter in model.named_parameters() if parameter not in tables}
        self._mean = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights of this step into the average."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for name, parameter in self._live.items():
            self._mean[name] = self._mean[name].to(parameter.device).lerp_(parameter, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the average weights inside, and its own again afterwards."""
        own = {name: parameter.detach().clone() for name, parameter in self._live.items()}
        self._set(self._mean)
        try:
            yield
        finally:
            self._set(own)

    def state_dict(self) -> dict[str, Any]:
        """The averages by parameter name."""
        return {"num_updates": self.num_updates, "mean": dict(self._mean)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from an average.

        Raises:
            CheckpointError: If names or shapes are not those of the model.
        """
        shapes = {name: tuple(value.shape) for name, value in self._mean.items()}
        found = {name: tuple(value.shape) for name, value in state["mean"].items()}
        if shapes != found:
            wrong = sorted(name for name in {*shapes, *found} if shapes.get(name) != found.get(name))
            raise CheckpointError(message("The averages must be of this model.", received=f"others for {wrong}"))
        self.num_updates = int(state["num_updates"])
        self._mean = {name: state["mean"][name].detach().clone().to(live.device) for name, live in self._live.items()}

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._live.items():
            parameter.copy_(values[name])
