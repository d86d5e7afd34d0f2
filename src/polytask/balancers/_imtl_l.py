"""Learned scales that bring every loss to one."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.balancers._loss import LossBalancer
from polytask.balancers._scalars import BoundedScalars


@final
class IMTLL(LossBalancer):
    """Impartial learning of losses: each is multiplied by a learned scale until all products are 1.

    `objective = Σ_k e^(s_k) L_k - s_k`

    The optimum is `e^(s_k) = 1 / L_k`: the inverse of a loss, smoothed over steps, where `logarithmic` takes that of the batch.

    Prefer it when losses differ in scale and no likelihood stands behind them. Not when a task can be fitted without error
    (its scale grows until the bound); it learns as slowly as `uncertainty`, of which it is the double with `-s`.

    Cost: none beside the backward pass; k parameters, without weight decay.

    Source: Liu et al. 2021, "Towards Impartial Multi-task Learning", section 3.2 (checked against two implementations; the
    text was not at hand). The other half of the method balances gradients.
    Differs: s is held inside bounds. No logarithm of a loss is taken, so a loss may be zero or negative.

    Args:
        tasks: Names of the k tasks.
        init: Where every `s_k` starts; 0 is the plain sum.
        bounds: Least and greatest `s_k`; (-6, 6) lets weights range from 0.0025 to 400.

    Raises:
        ConfigError: If `init` is outside `bounds`.

    Example:
        >>> import torch
        >>> balancer = IMTLL(["click", "buy"])
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> _ = balancer.backward({"buy": x**2})
        >>> x.grad, balancer.log_scale("buy").grad
        (tensor(6.), tensor(8.))
    """

    def __init__(self, tasks: Sequence[str], *, init: float = 0.0, bounds: tuple[float, float] = (-6.0, 6.0)) -> None:
        super().__init__(tasks)
        self._log_scales = BoundedScalars(self.tasks, init=init, bounds=bounds)

    def log_scale(self, task: str) -> nn.Parameter:
        """The parameter `s_k` of one task."""
        return self._log_scales.of(task)

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_k e^(s_k) L_k - s_k`."""
        s = self._log_scales.at(names)
        return (torch.exp(s) * losses - s).sum()
