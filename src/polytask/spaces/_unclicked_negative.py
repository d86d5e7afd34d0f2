"""Rows outside of the sample space count as negatives."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.spaces._base import Outputs, Space, share
from polytask.spaces._rows import some, times
from polytask.tasks import Task


@final
class UnclickedNegative(Space):
    """Unclicked rows count as not bought, each as a part `rate` of a row.

    `L_buy = (Σ_clicked l(buy, p) + rate Σ_unclicked l(0, p)) / (num_clicked + rate num_unclicked)`

    Prefer it as a baseline to beat, where somebody insists that all missing feedback is negative. Not for estimates of p(buy |
    click): they come out too low by construction, most where clicks are rare.

    Cost: that of a task labelled on all rows.

    Source: "AMAN" (all missing as negative) of Pan et al., ICDM 2008, as compared in Ma et al., SIGIR 2018.

    Differs: each unclicked row weighs `rate`, where the papers draw that share of them: the same loss in expectation, without
    the noise of the draw. Tasks that are not binary are learnt where they exist.

    Args:
        tasks: The declared tasks.
        rate: What an unclicked row counts for.

    Raises:
        ConfigError: If `rate` is not above 0 and at most 1.

    Example:
        >>> from polytask.tasks import Binary
        >>> space = UnclickedNegative([Binary("click"), Binary("buy", given="click")], rate=0.5)
        >>> nan, flat = float("nan"), torch.zeros(3, 1)
        >>> labels = {"click": Labels.of(torch.tensor([1.0, 0, 0])), "buy": Labels.of(torch.tensor([1.0, nan, nan]))}
        >>> losses = space.losses({"click": flat, "buy": torch.tensor([[0.0], [-1.0], [-1.0]])}, labels)
        >>> round(losses["buy"].item(), 4)  # (0.6931 + 0.5 (0.3133 + 0.3133)) / 2
        0.5032
    """

    def __init__(self, tasks: Sequence[Task], *, rate: float = 1.0) -> None:
        super().__init__(tasks)
        self.rate = share("rate", rate)

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain losses, of binary tasks with `given` on all rows that are known to be inside or outside."""
        found = self._own_losses(outputs, labels)
        known = self.tree.joint(labels)
        for task in self.declared:
            if task.given is None or task.kind != "binary" or not self.tree.has_labels(task.name, labels):
                continue
            own, space = labels[task.name], self.tree.space(task, known)
            inside = space.inside & own.observed
            rows = inside | space.outside
            if some(rows):
                value = torch.where(inside, own.value, 0.0)
                factor = torch.where(inside, 1.0, self.rate)
                found[task.name] = task.loss(outputs[task.name], times(Labels(value, rows, len(rows), own.weight), factor))
        return {task.name: found[task.name] for task in self.declared if task.name in found}
