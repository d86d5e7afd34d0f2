"""What every update rule is: a gradient in, a changed parameter out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor


class Entry(NamedTuple):
    """A parameter, or some rows of one, as a rule sees it; all tensors have one shape.

    Args:
        value: Is changed in place.
        gradient: Of the loss, dense.
        slots: What the rule remembers, in the order of its `slots`; changed in place.
        step: Number of updates before this one, on the parameter's device; changed in place.
    """

    value: Tensor
    gradient: Tensor
    slots: tuple[Tensor, ...]
    step: Tensor


class Rule(ABC):
    """Base of the family: a frozen value that owns no tensors.

    Every rule works element by element, so that rows of a table may be updated alone, and a parameter's path does not depend on
    which others are updated beside it. Weight decay is decoupled in all: `w <- (1 - lr decay) w` before the update.
    """

    slots: ClassVar[tuple[str, ...]]
    """Names of the tensors it remembers, each of its parameter's shape and 0 at the start."""

    @abstractmethod
    def update(self, entries: Sequence[Entry], *, lr: float, weight_decay: float) -> None:
        """Updates all entries in place by one step; they are on one device and of one kind of number."""
