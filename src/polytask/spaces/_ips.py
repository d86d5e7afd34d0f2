"""Clicked rows weighed by how unlikely their click was; the mean is over all rows."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.losses import hide_unobserved
from polytask.spaces._base import Outputs
from polytask.spaces._propensity import PropensitySpace
from polytask.spaces._rows import mean_over
from polytask.tasks import Task


@final
class IPS(PropensitySpace):
    """Inverse propensities: on average over clicks, the loss that all rows would have, were all of them labelled.

    `L_buy = 1/n Σ_clicked l(buy, p) / q`, `q = max(p(click), clip)`, detached; n counts the rows that are known to be clicked and
    labelled, or not clicked.

    Prefer it where the sum must be unbiased, for instance to compare its value with another estimate. Not for training as such:
    `snips` has less noise. Where labels of clicked rows are missing it is too small by their share.

    Cost: a few operations on one number a row. The weights leave fewer effective rows.

    Source: Schnabel et al., ICML 2016, the inverse propensity estimator; for p(buy | click) Wang et al., SIGIR 2022 (ESCM2),
    equation numbers not at hand.

    Differs: ESCM2 adds the loss of `entire_space` times a weight: `joint_weight`. A chain is weighed by the product of its steps.

    Args:
        tasks: The declared tasks.
        clip: Least propensity; a larger one has less noise and more bias.
        joint_weight: What the loss of `entire_space` is multiplied by before it is added to that of a binary task with `given`.

    Raises:
        ConfigError: If `clip` is not above 0 and at most 1, or `joint_weight` is below 0.

    Example:
        >>> from polytask.tasks import Binary
        >>> space, nan = IPS([Binary("click"), Binary("buy", given="click")]), float("nan")
        >>> labels = {"click": Labels.of(torch.tensor([1.0, 0.0])), "buy": Labels.of(torch.tensor([1.0, nan]))}
        >>> outputs = {"click": torch.logit(torch.tensor([[0.5], [0.1]])), "buy": torch.tensor([[-1.0], [-1.0]])}
        >>> round(space.losses(outputs, labels)["buy"].item(), 4)  # 2 x 1.3133 / 2
        1.3133
    """

    def __init__(self, tasks: Sequence[Task], *, clip: float = 0.05, joint_weight: float = 0.0) -> None:
        super().__init__(tasks, clip=clip, joint_weight=joint_weight)

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain losses, of tasks with `given` with weights, over all rows."""
        behind = [task for task in self.declared if task.given is not None and task.name in labels]
        found = self._own_losses(outputs, {name: own for name, own in labels.items() if name not in {t.name for t in behind}})
        propensity, known = self.propensities(outputs), self.tree.joint(labels)
        for task in behind:
            own = labels[task.name]
            if own.count and str(task.given) in known:
                per_row = task.row_loss(hide_unobserved(outputs[task.name], own), own.value)
                space = self.tree.space(task, known)
                clicked = space.inside & own.observed
                weighed = torch.where(clicked, per_row * self.inverse(propensity[str(task.given)]), 0.0)
                found[task.name] = mean_over(weighed, clicked | space.outside, own.weight)
        return self._with_joint(found, outputs, labels)
