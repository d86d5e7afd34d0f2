"""A twin head for the rows that were not clicked."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.spaces._base import Outputs, not_negative
from polytask.spaces._propensity import PropensitySpace
from polytask.spaces._rows import some, times
from polytask.spaces._tree import Known
from polytask.tasks import Binary, Task


@final
class Counterfactual(PropensitySpace):
    """One head learns from clicked rows, its twin from the others, where the mirrored label is 1; both should sum to 1.

    `L_buy = Σ_clicked l(buy, r) / q / Σ_clicked 1 / q + joint_weight L_click_and_buy`, as of `snips`;
    `L_buy_counterfactual = Σ_unclicked l(1, r*) / (1 - q) / Σ_unclicked 1 / (1 - q)`; and the penalty
    `consistency mean |1 - (r + r*)|` on all rows. q is detached and both q and 1 - q are at least `clip`.

    Prefer it where unclicked rows shall restrain p(buy | click) without being called negatives outright. Not where estimates
    must be right: that an unclicked row would not have been bought is an assumption, which the penalty hands on to p(buy |
    click).

    Cost: one more head (and gate, and tower) for each binary task with `given`.

    Source: DCMT (Zhu et al., ICDE 2023); its loss is written from public code and from memory, equation numbers not at hand.

    Differs: the penalty is not weighed by a balancer. Tasks that are not binary are learnt as by `snips`.

    Args:
        tasks: The declared tasks.
        clip: Least propensity of a click, and of none.
        consistency: Strength of the penalty.
        joint_weight: What the loss of `entire_space` is multiplied by before it is added to that of a binary task with `given`.

    Raises:
        ConfigError: If `clip` is not above 0 and at most 1, another number is below 0, or `buy_counterfactual` is a task already.

    Example:
        >>> space = Counterfactual([Binary("click"), Binary("buy", given="click")])
        >>> [task.name for task in space.tasks]
        ['click', 'buy', 'buy_counterfactual']
    """

    def __init__(
        self, tasks: Sequence[Task], *, clip: float = 0.05, consistency: float = 0.001, joint_weight: float = 1.0
    ) -> None:
        super().__init__(tasks, clip=clip, joint_weight=joint_weight)
        self.consistency = not_negative("consistency", consistency)
        self.twins = {
            task.name: self._add_head(task, "counterfactual", base_rate=None if task.base_rate is None else 1 - task.base_rate)
            for task in self.declared
            if task.given is not None and isinstance(task, Binary)
        }

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain losses, of tasks with `given` with weights, and those of the twins."""
        propensity, known = self.propensities(outputs), self.tree.joint(labels)
        behind = [task for task in self.declared if task.given is not None and task.name in labels]
        weighed = {task.name: times(labels[task.name], self.inverse(propensity[str(task.given)])) for task in behind}
        found = self._own_losses(outputs, {**labels, **weighed})
        for task in behind:
            if task.name in self.twins and str(task.given) in known:
                found |= self._twin_loss(task, outputs, labels[task.name], (known[str(task.given)], propensity[str(task.given)]))
        return self._with_joint(found, outputs, labels)

    def _twin_loss(self, task: Task, outputs: Outputs, own: Labels, space: tuple[Known, Tensor]) -> dict[str, Tensor]:
        twin, rows, inverse = self.twins[task.name], space[0].outside, self.inverse(1 - space[1])
        if not some(rows):
            return {}
        labels = times(Labels(torch.ones_like(own.value), rows, len(rows), own.weight), inverse)
        return {twin.name: twin.loss(outputs[twin.name], labels)}

    def penalty(self, outputs: Outputs) -> Float[Tensor, ""] | None:
        """How far twins are from summing to 1."""
        if not self.twins or not self.consistency:
            return None
        heads = [(outputs[name].float(), outputs[twin.name].float()) for name, twin in self.twins.items()]
        return self.consistency * torch.stack([(1 - own.sigmoid() - twin.sigmoid()).abs().mean() for own, twin in heads]).sum()
