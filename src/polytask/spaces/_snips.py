"""Clicked rows weighed by how unlikely their click was; weights that sum to 1."""

from collections.abc import Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.spaces._base import Outputs
from polytask.spaces._propensity import PropensitySpace
from polytask.spaces._rows import times
from polytask.tasks import Task


@final
class SNIPS(PropensitySpace):
    """Self-normalised inverse propensities: each clicked row stands for all the rows like it that were not clicked.

    `L_buy = Σ_clicked l(buy, p) / q  /  Σ_clicked 1 / q`, `q = max(p(click), clip)`, detached

    Prefer it to `ips` nearly always: a batch with few or unlikely clicks has no larger loss than another, labels that are
    missing do no harm where they are missing at random, and a wrong scale of q cancels. Not where clicks are predicted badly,
    or depend on what the inputs do not show: weights cannot mend what they do not know.

    Cost: a few operations on one number a row. The weights leave fewer effective rows.

    Source: Swaminathan & Joachims, NeurIPS 2015, the self-normalised estimator; for p(buy | click) Wang et al., SIGIR 2022
    (ESCM2), equation numbers not at hand.

    Differs: ESCM2 adds the loss of `entire_space` times a weight: `joint_weight`. The estimate is consistent, not unbiased.

    Args:
        tasks: The declared tasks.
        clip: Least propensity; a larger one has less noise and more bias.
        joint_weight: What the loss of `entire_space` is multiplied by before it is added to that of a binary task with `given`.

    Raises:
        ConfigError: If `clip` is not above 0 and at most 1, or `joint_weight` is below 0.

    Example:
        >>> import torch
        >>> from polytask.tasks import Binary
        >>> space = SNIPS([Binary("click"), Binary("buy", given="click")])
        >>> labels = {"click": Labels.of(torch.ones(2)), "buy": Labels.of(torch.tensor([1.0, 0.0]))}
        >>> outputs = {"click": torch.logit(torch.tensor([[0.5], [0.1]])), "buy": torch.tensor([[-1.0], [-1.0]])}
        >>> round(space.losses(outputs, labels)["buy"].item(), 4)  # (2 x 1.3133 + 10 x 0.3133) / 12
        0.4799
    """

    def __init__(self, tasks: Sequence[Task], *, clip: float = 0.05, joint_weight: float = 0.0) -> None:
        super().__init__(tasks, clip=clip, joint_weight=joint_weight)

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain losses, of tasks with `given` with weights."""
        propensity = self.propensities(outputs)
        behind = [task for task in self.declared if task.given is not None and task.name in labels]
        weighed = {task.name: times(labels[task.name], self.inverse(propensity[str(task.given)])) for task in behind}
        return self._with_joint(self._own_losses(outputs, {**labels, **weighed}), outputs, labels)
