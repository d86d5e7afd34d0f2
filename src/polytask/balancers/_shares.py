"""Shares of tasks in one whole, learned step by step."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polytask.balancers._state import PerTaskState


@final
class Shares(nn.Module):
    """A point of the simplex, by task name. Tasks that do not count in a step keep their share; the others divide the rest.

    Args:
        tasks: Names of the k tasks; each starts with 1 / k.

    Example:
        >>> shares, names, all_three = Shares(["a", "b", "c"]), ("a", "b", "c"), torch.tensor([True, True, True])
        >>> shares.put(("c", "a"), torch.tensor([0.75, 0.25]), torch.tensor([True, True]))
        >>> shares.at(names, all_three)
        tensor([0.1667, 0.3333, 0.5000])
        >>> shares.at(names, torch.tensor([True, False, True]))
        tensor([0.2500, 0.0000, 0.7500])
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.value = PerTaskState(tasks, fill=1 / len(tasks))

    def at(self, names: Sequence[str], among: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Shares of the tasks that count in what they have together; equal where they have nothing."""
        own = self.value.at(names) * among
        total = own.sum()
        return torch.where(total > 0, own / torch.where(total > 0, total, 1.0), among / among.sum().clamp_min(1))

    def put(self, names: Sequence[str], shares: Float[Tensor, " m"], among: Bool[Tensor, " m"]) -> None:
        """Divides anew what the tasks that count have together."""
        own = self.value.at(names)
        self.value.put(names, torch.where(among, shares * (own * among).sum(), own))


def on_simplex(x: Float[Tensor, " m"], among: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:
    """The nearest point with shares >= 0 that sum to 1; 0 for tasks that do not count.

    Source: Duchi et al. 2008, "Efficient Projections onto the l1-Ball", figure 1 (from memory).

    Example:
        >>> on_simplex(torch.tensor([0.9, -3.0, 0.5, 7.0]), torch.tensor([True, True, True, False]))
        tensor([0.7000, 0.0000, 0.3000, 0.0000])
    """
    falling = x.masked_fill(~among, -torch.inf).sort(descending=True).values
    excess = falling.cumsum(0) - 1
    ranks = torch.arange(1, len(x) + 1, device=x.device)
    count = (falling * ranks > excess).sum().clamp_min(1)
    return (x - excess.gather(0, count.view(1) - 1) / count).clamp_min(0).masked_fill(~among, 0.0)
