"""What methods made for positive losses do with others, and with losses that are no number."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def at_least(losses: Float[Tensor, " k"], floor: float) -> Float[Tensor, " k"]:
    """Losses at or below the floor count as the floor, and are minimised still: the derivative is 1 everywhere.

    An error would have to wait for the device, and a plain clamp has no gradient: the task would never be trained again.

    Example:
        >>> at_least(torch.tensor([2.0, -3.0]), 0.5)
        tensor([2.0000, 0.5000])
    """
    held = losses.detach()
    return losses - held + held.clamp_min(floor)


def shared_out(logits: Float[Tensor, " k"], counted: Bool[Tensor, " k"]) -> Float[Tensor, " k"]:
    """`m softmax_k(logits)` over the m tasks that count; the others get nothing and change nothing.

    Example:
        >>> shared_out(torch.tensor([1.0, float("nan"), 1.0]), torch.tensor([True, False, True]))
        tensor([1., 0., 1.])
    """
    return counted.sum() * torch.softmax(logits.masked_fill(~counted, -torch.inf), 0)
