"""A weighted sum whose weights the user chose."""

from collections.abc import Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import Given
from polytask.balancers._loss import LossBalancer
from polytask.errors import ConfigError, message


@final
class Fixed(LossBalancer):
    """A weighted sum of the losses with weights that stay.

    `objective = Σ_k w_k L_k`

    Prefer it when what each task is worth is known, or to draw the front of trade-offs with several runs. Not to bring
    losses to one scale under Adam: a task's own parameters do not feel the scale of its loss, only the shared ones do.

    Cost: none beside the backward pass.

    Source: Xin et al. 2022, "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", eq. 2.
    Differs: the weights need not sum to 1.

    Args:
        tasks: Names of the k tasks.
        weights: Weight of each task, finite and not negative; a task that is not named weighs 1.

    Raises:
        ConfigError: If a weight is not a number ≥ 0, names no task, or all are 0.

    Example:
        >>> import torch
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> _ = Fixed(["click", "buy"], weights={"buy": 10.0}).backward({"click": 2 * x, "buy": x**2})
        >>> x.grad
        tensor(62.)
    """

    def __init__(self, tasks: Sequence[str], *, weights: Mapping[str, float]) -> None:
        super().__init__(tasks)
        self._given = Given(self.tasks, weights, what="weight")
        self.weights = {name: float(weights.get(name, 1.0)) for name in self.tasks}
        if not any(self.weights.values()):
            raise ConfigError(message("At least one task needs a weight above 0.", received=dict(weights)))

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_k w_k L_k`."""
        return (self._given.at(names) * losses).sum()
