"""The plain sum."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.balancers._loss import LossBalancer


@final
class Equal(LossBalancer):
    """The sum of the losses: the baseline that every other balancer has to beat.

    `objective = Σ_k L_k`

    Prefer it first: with losses on one scale (targets are standardised inside the tasks) a tuned sum is hard to beat. Not
    when one loss is far larger than the others: then it decides alone what is shared.

    Cost: none beside the backward pass.

    Source: the baseline of Kurin et al. 2022, "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", eq. 1.

    Args:
        tasks: Names of the k tasks.

    Example:
        >>> import torch
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> balance = Equal(["click", "buy"]).backward({"click": 2 * x, "buy": x**2})
        >>> x.grad, balance.weights["buy"]
        (tensor(8.), tensor(1.))
    """

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:  # noqa: ARG002 - all alike
        """`Σ_k L_k`."""
        return losses.sum()
