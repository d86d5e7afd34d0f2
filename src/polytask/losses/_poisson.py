"""Likelihood of counts."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

# exp goes on as a straight line from here: e^20 = 4.9e8 is far above any rate in units of the mean, far below overflow
_STRAIGHT_FROM = 20.0


def poisson(output: Float[Tensor, "n 1"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Negative log-likelihood of a count less that of the best possible rate: half the Poisson deviance.

    `rate - y - y log(rate / y)` with `rate = exp(output)`; 0 where the rate equals the count. It differs from the negative
    log-likelihood by a number that depends on the label only, so gradients are the same, and it is never negative.

    For counts whose variance grows as their mean. Heavily over-dispersed counts make it large: give the task a smaller weight.

    Source: McCullagh & Nelder, Generalized Linear Models (2nd ed., 1989), section 2.3 (deviance of the Poisson).
    Differs: above `output = 20` the rate goes on as a straight line (`positive_rate`), so that no loss overflows.

    Args:
        output: Logarithm of the rate.
        label: Count, or any number not below 0.

    Example:
        >>> poisson(torch.zeros(2, 1), torch.tensor([1.0, 0.0]))
        tensor([0., 1.])
    """
    log_rate = output.squeeze(1)
    label = label.to(output.dtype)
    return positive_rate(log_rate) - label * log_rate + torch.xlogy(label, label) - label


def positive_rate(log_rate: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """`exp(log_rate)`, continued as a straight line with the same slope from 20 on.

    Example:
        >>> positive_rate(torch.tensor([0.0, 1000.0])).isfinite().all()
        tensor(True)
    """
    return torch.exp(log_rate.clamp(max=_STRAIGHT_FROM)) * (1 + functional.relu(log_rate - _STRAIGHT_FROM))
