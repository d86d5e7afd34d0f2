"""Where tasks stand in an order of tasks."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor


@final
class Places:
    """Indices of tasks, made once for each list of names and device: making one copies from the host.

    Args:
        order: Names of all tasks.

    Example:
        >>> Places(["click", "buy"]).of(("buy", "click"), torch.device("cpu"))
        tensor([1, 0])
    """

    def __init__(self, order: Sequence[str]) -> None:
        self.order = tuple(order)
        self._made: dict[tuple[tuple[str, ...], torch.device], Tensor] = {}

    def of(self, names: Sequence[str], device: torch.device) -> Int[Tensor, " m"]:
        """Place of each of some tasks."""
        key = (tuple(names), device)
        if key not in self._made:
            self._made[key] = torch.tensor([self.order.index(name) for name in names], device=device)
        return self._made[key]
