"""The sum of the logarithms of the losses."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import check_positive
from polytask.balancers._loss import LossBalancer
from polytask.balancers._positive import at_least


@final
class Logarithmic(LossBalancer):
    """The sum of log losses (scale-invariant, SI): what counts is by which share a loss falls.

    `objective = Σ_k log L_k`

    Each loss is divided by itself, so its unit cannot matter, and every task is heard equally at every level of its loss.

    Prefer it when losses differ in scale and each task shall improve by the same share. Not with a task that reaches nearly no
    loss: dividing by it raises its gradient without bound (until `floor`), and noise of a small batch is divided by itself.

    Cost: none beside the backward pass.

    Source: the baseline SI of Navon et al. 2022, "Multi-Task Learning as a Bargaining Game" (the text was not at hand).
    Differs: a loss at or below `floor` counts as `floor` and is minimised still. A task alone has weight `1 / L`, not 1: that
    is the method.

    Args:
        tasks: Names of the k tasks.
        floor: Least loss that is told from smaller ones, above 0; no weight is above its inverse.

    Raises:
        ConfigError: If `floor` is not above 0.

    Example:
        >>> import torch
        >>> x = torch.tensor(4.0, requires_grad=True)
        >>> balance = Logarithmic(["click", "buy"]).backward({"click": 2 * x, "buy": x**2})
        >>> x.grad, balance.weights["click"]
        (tensor(0.7500), tensor(0.1250))
    """

    def __init__(self, tasks: Sequence[str], *, floor: float = 1e-6) -> None:
        super().__init__(tasks)
        check_positive(floor=floor)
        self.floor = floor

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:  # noqa: ARG002 - stateless
        """`Σ_k log L_k`."""
        return torch.log(at_least(losses, self.floor)).sum()
