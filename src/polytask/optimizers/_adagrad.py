"""A rate of its own for every coordinate, which only falls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from polytask.optimizers._base import Entry, Rule


@final
@dataclass(frozen=True, kw_only=True)
class Adagrad(Rule):
    """A step along the gradient, measured in all gradients so far.

    Formula: `v <- v + g^2`, `w <- w - lr g / (sqrt(v) + eps)`.

    Prefer it for very sparse tables and one pass over the data; its rates fall for ever, which ends long trainings early.
    Cost: one fused pass over value, gradient and one sum: two thirds of the memory of AdamW.
    Source: Duchi, Hazan and Singer 2011, figure 1 (diagonal).
    Differs: weight decay is decoupled. On embedding tables touching only what has a gradient changes nothing: without decay it is
    exactly the dense rule.

    Args:
        epsilon: Smallest spread.

    Example:
        >>> Adagrad().slots
        ('square',)
    """

    epsilon: float = 1e-10

    slots: ClassVar[tuple[str, ...]] = ("square",)

    def update(self, entries: Sequence[Entry], *, lr: float, weight_decay: float) -> None:
        """Updates all entries in place by one step."""
        if weight_decay:
            for entry in entries:
                entry.value.mul_(1 - lr * weight_decay)
        steps = [entry.step for entry in entries]
        torch._foreach_add_(steps, 1)
        torch._fused_adagrad_(
            [entry.value for entry in entries],
            [entry.gradient for entry in entries],
            [entry.slots[0] for entry in entries],
            steps,
            lr=lr,
            weight_decay=0.0,
            lr_decay=0.0,
            eps=self.epsilon,
            maximize=False,
        )
