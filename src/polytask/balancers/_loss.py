"""Balancers that look at loss values only: one backward pass, whatever k is."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.balancers._base import Balance, Balancer
from polytask.sharing import Shared


class LossBalancer(Balancer):
    """A scalar objective of the losses; what each loss is multiplied by is its derivative.

    The objective is differentiated on one detached vector of k losses, then one backward pass goes through the model from
    all losses at once. So a loss that is not a number reaches the parameters its own task uses and no other task's: no loss
    is ever multiplied with another's gradient, where zero times NaN would spread.

    One convention of scale holds for the family: where all tasks are alike each weighs 1, as in the plain sum. Weights that
    share out a fixed amount sum to the number of tasks, whatever the paper's sum is; a task alone then trains as without a
    balancer. Where a method cannot keep it (a sum of logarithms weighs each loss by its inverse) its page says so.

    Args:
        tasks: Names of the k tasks.
    """

    @abstractmethod
    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """What is minimised, as a scalar; parameters of the balancer that enter it are trained with it.

        Args:
            losses: Losses of the tasks that are present.
            names: Whose they are, in the same order.
        """

    def backward(
        self,
        losses: Mapping[str, Tensor],
        shared: Iterable[nn.Parameter] = (),  # noqa: ARG002 - measured by balancers of gradients only
        junction: Shared | Sequence[Tensor] = (),  # noqa: ARG002
        penalty: Tensor | None = None,
    ) -> Balance:
        """Adds the gradient of the objective to `.grad`: of the model's parameters and of the balancer's own."""
        self._check(losses)
        names = tuple(losses)
        with torch.no_grad():
            values = torch.stack(tuple(losses.values()))
        values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        weights = _derivative(lambda leaf: self.objective(leaf, names), values)
        root = _Weighted.apply(weights, *losses.values())  # type: ignore[no-untyped-call]
        (root if penalty is None else root + penalty).backward()
        return Balance(dict(zip(names, values.unbind(), strict=True)), dict(zip(names, weights.unbind(), strict=True)))


def _derivative(objective: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    leaf = values.detach().requires_grad_()
    with torch.enable_grad():
        objective(leaf).backward()  # type: ignore[no-untyped-call]
    return torch.zeros_like(values) if leaf.grad is None else leaf.grad


class _Weighted(torch.autograd.Function):
    """One root over k losses whose gradient on each is its weight: k products and sums of scalars would be k nodes each way.

    One root, because handing the weights to `torch.autograd.backward` would import all of sympy at the first step.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *losses: Tensor) -> Tensor:  # noqa: ARG004 - the value is nobody's, the graph is
        ctx.save_for_backward(weights)
        return weights.new_zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weights,) = ctx.saved_tensors
        return (None, *(gradient * weights).unbind())
