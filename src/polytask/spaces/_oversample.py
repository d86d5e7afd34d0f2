"""Positives count several times."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.errors import ConfigError, message
from polytask.spaces._base import Outputs, Space
from polytask.spaces._rows import times as weighted
from polytask.tasks import Task


@final
class Oversample(Space):
    """Purchases among clicked rows count several times.

    `L_buy = Σ_clicked w l(buy, p) / Σ_clicked w`, `w = times` where bought, else 1.

    Prefer it where purchases are so rare that a model hardly moves, and only the order of predictions matters. Not for
    probabilities: the odds come out `times` as large as they are.

    Cost: none.

    Source: "OVERSAMPLING" of the comparison in Ma et al., SIGIR 2018 (2, 3, 5 and 10 copies).

    Differs: a copy is a weight, exactly: all copies of a row are in one batch, and no row is stored twice. Only binary tasks with
    `given` have positives that are copied; all else is learnt as without.

    Args:
        tasks: The declared tasks.
        times: What a positive counts for.

    Raises:
        ConfigError: If `times` is below 1.

    Example:
        >>> from polytask.tasks import Binary
        >>> space = Oversample([Binary("click"), Binary("buy", given="click")], times=3.0)
        >>> labels = {"click": Labels.of(torch.ones(2)), "buy": Labels.of(torch.tensor([1.0, 0.0]))}
        >>> losses = space.losses({"click": torch.zeros(2, 1), "buy": torch.tensor([[-1.0], [-1.0]])}, labels)
        >>> round(losses["buy"].item(), 4)  # (3 x 1.3133 + 0.3133) / 4
        1.0633
    """

    def __init__(self, tasks: Sequence[Task], *, times: float = 5.0) -> None:
        super().__init__(tasks)
        if not 1 <= times < float("inf"):
            raise ConfigError(message("`times` must be a number of at least 1.", received=times))
        self.times = times

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain losses, with weights on positives of binary tasks with `given`."""
        rare = [task.name for task in self.declared if task.given is not None and task.kind == "binary" and task.name in labels]
        copied = {name: weighted(labels[name], torch.where(labels[name].value == 1, self.times, 1.0)) for name in rare}
        return self._own_losses(outputs, {**labels, **copied})
