"""Mean loss of each task over an epoch, kept in the state so that a run can go on in the middle of one."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polytask.balancers._state import PerTaskState


@final
class EpochMeans(nn.Module):
    """Adds up losses batch by batch; a task counts the batches in which it was present with a number.

    Args:
        tasks: Names of the k tasks.

    Example:
        >>> means = EpochMeans(["click", "buy"])
        >>> means.add(("click",), torch.tensor([2.0]))
        >>> means.add(("click",), torch.tensor([4.0]))
        >>> means.take()
        (tensor([3., 0.]), tensor([ True, False]))
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.mean, self.count = PerTaskState(tasks), PerTaskState(tasks)

    @torch.no_grad()
    def add(self, names: Sequence[str], losses: Float[Tensor, " k"]) -> None:
        """Takes the losses of one batch."""
        finite = torch.isfinite(losses)
        before, count = self.mean.at(names), self.count.at(names) + finite
        # A running mean: a sum over a hundred thousand batches would lose digits.
        self.mean.put(names, torch.where(finite, before + (losses - before) / count.clamp_min(1), before))
        self.count.put(names, count)

    @torch.no_grad()
    def take(self) -> tuple[Float[Tensor, " k"], Bool[Tensor, " k"]]:
        """Mean of every task and whether it was seen at all; the next epoch begins."""
        mean, seen = self.mean.value.clone(), self.count.value > 0
        self.mean.value.zero_()
        self.count.value.zero_()
        return mean, seen
