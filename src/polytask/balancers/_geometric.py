"""The geometric mean of the losses."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import check_positive
from polytask.balancers._loss import LossBalancer
from polytask.balancers._positive import at_least


@final
class Geometric(LossBalancer):
    """The geometric mean of the losses, so that their units do not matter.

    `objective = m (Π_k L_k)^(1/m) = m exp(mean_k log L_k)` over the m present tasks

    The weight of a loss is the geometric mean over that loss. Multiplying one loss by a constant multiplies the whole by a root
    of it and changes no direction.

    Prefer it when losses differ in scale and there is nothing to tune. Not when a task nears zero loss: the whole gradient
    falls with it while its own weight grows, and the others stop learning.

    Cost: none beside the backward pass.

    Source: Chennupati et al. 2019, "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for Multi-Task
    Learning", the geometric loss (checked against two implementations; the text was not at hand).
    Differs: m times the mean, so that equal losses weigh 1 each as in the sum; the mean of logarithms, since a product of 32
    losses leaves the range of float32. A loss at or below `floor` counts as `floor` and is minimised still. A loss that is no
    number is left out of the mean.

    Args:
        tasks: Names of the k tasks.
        floor: Least loss that is told from smaller ones, above 0.

    Raises:
        ConfigError: If `floor` is not above 0.

    Example:
        >>> import torch
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> balance = Geometric(["click", "buy"]).backward({"click": 3 * x, "buy": x**2 / 9})
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 0.333, 'buy': 3.0}
    """

    def __init__(self, tasks: Sequence[str], *, floor: float = 1e-6) -> None:
        super().__init__(tasks)
        check_positive(floor=floor)
        self.floor = floor

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:  # noqa: ARG002 - stateless
        """`m exp(mean_k log L_k)`."""
        finite = torch.isfinite(losses.detach())
        num = finite.sum()
        logs = torch.log(at_least(losses, self.floor)).masked_fill(~finite, 0.0)
        return num * torch.exp(logs.sum() / num)
