"""Likelihood of ordered levels: where a score falls between thresholds."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def cumulative_link(output: Float[Tensor, "n c_minus_1"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Negative log-likelihood of one of c ordered levels under `P(y <= j) = sigmoid(t_j)`, `t` of `thresholds`.

    `-log(sigmoid(t_y) - sigmoid(t_{y-1}))`, computed without a difference: with `g` the output that makes the gap between both,
    `sigmoid(t_y) - sigmoid(t_{y-1}) = sigmoid(t_y) sigmoid(-t_{y-1}) sigmoid(g)`, so the loss is a sum of three softplus.

    For levels with an order (stars, grades). Not where the distance of levels is known and even: regression says more.

    Source: McCullagh, Regression Models for Ordinal Data (JRSS B 1980), section 2 (proportional odds).
    Differs: the gaps between thresholds may depend on the row, as the head's other outputs do; they stay positive.

    Args:
        output: Score, and c - 2 numbers whose softplus are the gaps between thresholds.
        label: Place of the level, 0 to c - 1, as a float.

    Example:
        >>> cumulative_link(torch.zeros(1, 1), torch.tensor([1.0]))
        tensor([0.6931])
    """
    t = thresholds(output)
    level = label.long().unsqueeze(1)
    last = t.shape[1]
    above = functional.softplus(-t.gather(1, level.clamp(max=last - 1))) * (level < last)
    below = functional.softplus(t.gather(1, (level - 1).clamp(min=0))) * (level > 0)
    gap = functional.softplus(-output.gather(1, level.clamp(max=last - 1))) * ((level > 0) & (level < last))
    return (above + below + gap).squeeze(1)


def thresholds(output: Float[Tensor, "n c_minus_1"]) -> Float[Tensor, "n c_minus_1"]:
    """Log-odds of being at most at each level but the last; they rise by construction.

    `t_1 = -output_1`, `t_{j+1} = t_j + softplus(output_{j+1})`: a higher score makes higher levels likelier.

    Example:
        >>> thresholds(torch.tensor([[2.0, 0.0]]))
        tensor([[-2.0000, -1.3069]])
    """
    gaps = functional.softplus(output[:, 1:])
    return torch.cat([-output[:, :1], gaps], dim=1).cumsum(dim=1)
