"""Clicked rows are dropped until they look like all rows."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.spaces._base import Outputs
from polytask.spaces._propensity import PropensitySpace
from polytask.spaces._rows import times
from polytask.tasks import Task


@final
class Rejection(PropensitySpace):
    """A clicked row is kept with a probability inverse to its probability of being clicked, drawn anew each time it is seen.

    `kept ~ Bernoulli(clip / max(p(click), clip))`, `L_buy = mean over kept rows of l(buy, p(buy | click))`

    Prefer it where weights must not differ (a loss that cannot bear them), or as the baseline it was. Not elsewhere: what
    `snips` weighs, this throws away, so it learns from fewer rows and with more noise; with clicks of 4 % and a clip of 1 %,
    from a quarter.

    Cost: a random number a row; tasks behind a click learn more slowly.

    Source: "UNBIAS" of the comparison in Ma et al., SIGIR 2018, after the rejection sampling of Zadrozny, ICML 2004.

    Differs: the paper says only that pCTR is the rejection probability; kept here is what makes the kept rows a sample of all
    rows. The estimate is the model's own head, detached, not one of a separate network.

    Args:
        tasks: The declared tasks.
        clip: Propensity up to which every clicked row is kept; a smaller one keeps fewer rows and corrects more.

    Raises:
        ConfigError: If `clip` is not above 0 and at most 1.

    Example:
        >>> from polytask.tasks import Binary
        >>> space = Rejection([Binary("click"), Binary("buy", given="click")], clip=0.02)
        >>> space.keep_probability({"click": torch.logit(torch.tensor([[0.2], [0.01]])), "buy": torch.zeros(2, 1)}, "click")
        tensor([0.1000, 1.0000])
    """

    def __init__(self, tasks: Sequence[Task], *, clip: float = 0.05) -> None:
        super().__init__(tasks, clip=clip)

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain losses, of tasks with `given` on the rows that are kept; the same row is kept or dropped for all of them."""
        behind = [task for task in self.declared if task.given is not None and task.name in labels and labels[task.name].count]
        found = self._own_losses(outputs, {name: own for name, own in labels.items() if name not in {t.name for t in behind}})
        if behind:
            uniform = torch.rand_like(labels[behind[0].name].value)
            for task in behind:
                keep = (uniform < self.keep_probability(outputs, str(task.given))).to(uniform.dtype)
                found[task.name] = task.loss(outputs[task.name], times(labels[task.name], keep))
        return {task.name: found[task.name] for task in self.declared if task.name in found}

    def keep_probability(self, outputs: Outputs, step: str) -> Float[Tensor, " n"]:
        """Probability that a row on which a step happened is kept."""
        return self.clip * self.inverse(self.propensities(outputs)[step])
