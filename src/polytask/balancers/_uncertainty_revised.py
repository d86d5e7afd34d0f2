"""Learned noise levels with a regulariser that is never negative."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from polytask.balancers._loss import LossBalancer
from polytask.balancers._scalars import BoundedScalars


@final
class UncertaintyRevised(LossBalancer):
    """Uncertainty weighting whose price of a high weight stays finite: `ln(1 + c²)` in place of `ln c`.

    `objective = Σ_k L_k / (2 c_k²) + ln(1 + c_k²)` with `s_k = ln c_k²`

    The optimum is `c_k² = (L_k + √(L_k² + 8 L_k)) / 4`. For a small loss the weight is near `1 / √(2 L_k)`, where plain
    uncertainty weighting takes `1 / L_k`: easy tasks are pushed less. So `c²` is no noise level.

    Prefer it where uncertainty weighting lets a nearly perfect task take over, or where an objective that stays positive is
    wanted. Not when the learned number shall be read as the noise of a task (`uncertainty`).

    Cost: none beside the backward pass; k parameters, without weight decay.

    Source: Liebel & Körner 2018, "Auxiliary Tasks in Multi-task Learning", as later papers restate it (the text was not at
    hand).
    Differs: `s = ln c²` is learned, not c, so that c keeps its sign; s starts at `-ln 2`, where every weight is 1, and is held
    inside bounds.

    Args:
        tasks: Names of the k tasks.
        init: Where every `s_k` starts.
        bounds: Least and greatest `s_k`.

    Raises:
        ConfigError: If `init` is outside `bounds`.

    Example:
        >>> import torch
        >>> balancer = UncertaintyRevised(["click", "buy"], init=0.0)
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> _ = balancer.backward({"buy": x**2})
        >>> x.grad, balancer.log_square("buy").grad
        (tensor(3.), tensor(-4.))
    """

    def __init__(
        self, tasks: Sequence[str], *, init: float = -0.6931471805599453, bounds: tuple[float, float] = (-6.0, 6.0)
    ) -> None:
        super().__init__(tasks)
        self._log_squares = BoundedScalars(self.tasks, init=init, bounds=bounds)

    def log_square(self, task: str) -> nn.Parameter:
        """The parameter `s_k = ln c_k²` of one task."""
        return self._log_squares.of(task)

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_k L_k / (2 c_k²) + ln(1 + c_k²)`."""
        s = self._log_squares.at(names)
        return (0.5 * torch.exp(-s) * losses + softplus(s)).sum()
