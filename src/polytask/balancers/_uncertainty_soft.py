"""Weights from the inverse of each loss, shared out by a softmax."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import check_positive
from polytask.balancers._loss import LossBalancer
from polytask.balancers._positive import shared_out


@final
class UncertaintySoft(LossBalancer):
    """The closed form of uncertainty weights, `1 / L_k`, through a softmax with temperature: nothing to learn, no inertia.

    `objective = Σ_k w_k L_k`, `w = m softmax_k(1 / (T L_k))` over the m present tasks, w without gradient

    Prefer it where uncertainty weighting takes too long to find its level. Not with losses of unlike scale unless T is tuned:
    the inverse of a loss is no pure number, so T has the inverse unit of the loss. A small T gives nearly everything to the
    smallest loss.

    Cost: none beside the backward pass.

    Source: Kirchdorfer et al. 2024, "Analytical Uncertainty-Based Loss Weighting in Multi-Task Learning" (UW-SO), the
    equation of the weights (the text was not at hand for its number).
    Differs: the published weights sum to 1, these to the number of present tasks. A loss below `floor` counts as `floor`, as
    `1 / L` has no bound; a loss that is no number gets no share.

    Args:
        tasks: Names of the k tasks.
        temperature: T; greater ones bring the weights to 1.
        floor: Least loss that is told from smaller ones, above 0.

    Raises:
        ConfigError: If `temperature` or `floor` is not above 0.

    Example:
        >>> import torch
        >>> x = torch.tensor(0.5, requires_grad=True)
        >>> balance = UncertaintySoft(["click", "buy"]).backward({"click": 2 * x, "buy": x})
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 0.538, 'buy': 1.462}
    """

    def __init__(self, tasks: Sequence[str], *, temperature: float = 1.0, floor: float = 0.01) -> None:
        super().__init__(tasks)
        check_positive(temperature=temperature, floor=floor)
        self.temperature, self.floor = temperature, floor

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:  # noqa: ARG002 - stateless
        """`Σ_k w_k L_k`."""
        with torch.no_grad():
            weights = shared_out(1 / (self.temperature * losses.clamp_min(self.floor)), torch.isfinite(losses))
        return (weights * losses).sum()
