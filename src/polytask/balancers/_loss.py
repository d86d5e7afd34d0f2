"""Balancers that look at loss values only: one backward pass, whatever k is."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from polytask.balancers._base import Balance, Balancer


class LossBalancer(Balancer):
    """A scalar objective of the losses; what each loss is multiplied by is its derivative.

    The objective is differentiated on k detached scalars, then one backward pass goes through the model from all losses at
    once. So a loss that is not a number reaches the parameters its own task uses and no other task's: the losses are never
    put into one tensor, where zero times NaN would spread.

    Args:
        tasks: Names of the k tasks.
    """

    @abstractmethod
    def objective(self, losses: Mapping[str, Tensor]) -> Tensor:
        """What is minimised, as a scalar; parameters of the balancer that enter it are trained with it."""

    def backward(
        self,
        losses: Mapping[str, Tensor],
        shared: Iterable[nn.Parameter] = (),  # noqa: ARG002 - measured by balancers of gradients only
        junction: Sequence[Tensor] = (),  # noqa: ARG002
        penalty: Tensor | None = None,
    ) -> Balance:
        """Adds the gradient of the objective to `.grad`: of the model's parameters and of the balancer's own."""
        self._check(losses)
        values = {name: loss.detach().requires_grad_() for name, loss in losses.items()}
        with torch.enable_grad():
            self.objective(values).backward()  # type: ignore[no-untyped-call]
        weights = {name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in values.items()}
        # One scalar root: handing `weights` to autograd as gradients would import all of sympy at the first step.
        weighted = [weights[name] * loss for name, loss in losses.items()]
        sum(weighted if penalty is None else [*weighted, penalty]).backward()  # type: ignore[union-attr]
        return Balance({name: loss.detach() for name, loss in losses.items()}, weights)
