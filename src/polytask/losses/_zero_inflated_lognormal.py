"""Likelihood of amounts that are mostly zero."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

SHARPEST = 0.1
"""Least sigma: the loss is counted from here, so it is never negative, and never infinite for an amount that is met."""


def zero_inflated_lognormal(output: Float[Tensor, "n 3"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Negative log-likelihood of an amount that is zero, or else lognormal, up to a number that depends on the label only.

    With logit a, place m and `sigma = 0.1 + softplus(r)`: `softplus(a)` where the amount is 0, and
    `softplus(-a) + log(sigma / 0.1) + ((log y - m) / sigma)^2 / 2` where it is above 0.

    For amounts with many zeros and a long tail: spend, claims, lifetime value. Where nothing is zero prefer
    `half_squared_error` of the logarithm.

    Source: Wang, Liu & Miao, A Deep Probabilistic Model for Customer Lifetime Value Prediction (2019); checked
    against the code that its authors published, the paper was not at hand.
    Differs: sigma is at least 0.1, where the paper's code has the square root of a machine epsilon; terms that depend on the
    label only are left out, so the loss is never negative. Gradients are those of the likelihood.

    Args:
        output: Logit of an amount above 0, mean of its logarithm, and what sigma is made of.
        label: Amount, not below 0; the spread of its logarithm should be about 1.

    Example:
        >>> zero_inflated_lognormal(torch.zeros(2, 3), torch.tensor([0.0, 1.0])).round(decimals=2)
        tensor([0.6900, 2.7600])
    """
    logit, place, raw = output.unbind(1)
    label = label.to(output.dtype)
    positive = label > 0
    distance = (torch.where(positive, label, 1.0).log() - place) / lognormal_sigma(raw)
    amount = torch.log1p(functional.softplus(raw) / SHARPEST) + distance.square() / 2
    return functional.softplus(torch.where(positive, -logit, logit)) + torch.where(positive, amount, 0.0)


def lognormal_sigma(raw: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Standard deviation of the logarithm, from the third output.

    Example:
        >>> lognormal_sigma(torch.tensor(-100.0))
        tensor(0.1000)
    """
    return SHARPEST + functional.softplus(raw)
