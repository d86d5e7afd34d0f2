"""The gradient itself, with momentum or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from polytask.optimizers._base import Entry, Rule


@final
@dataclass(frozen=True, kw_only=True)
class SGD(Rule):
    """A step against the gradient.

    Formula: `m <- momentum m + g`, `w <- w - lr m`.

    Prefer it to study balancers: unlike under AdamW, the scale of a task's loss is the scale of its step. Rates must be tuned.
    Cost: two passes.
    Source: Sutskever et al. 2013, eq. 1 to 2, as `torch.optim.SGD` writes it.
    Differs: weight decay is decoupled. On embedding tables momentum moves a row only when it is touched.

    Args:
        momentum: Memory of the mean.

    Example:
        >>> SGD(momentum=0.9).slots
        ('mean',)
    """

    momentum: float = 0.0

    slots: ClassVar[tuple[str, ...]] = ("mean",)

    def update(self, entries: Sequence[Entry], *, lr: float, weight_decay: float) -> None:
        """Updates all entries in place by one step."""
        for entry in entries:
            entry.step.add_(1)
            if weight_decay:
                entry.value.mul_(1 - lr * weight_decay)
            mean = entry.slots[0].mul_(self.momentum).add_(entry.gradient)
            entry.value.add_(mean, alpha=-lr)
