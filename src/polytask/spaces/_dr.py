"""What clicked rows say, and for the others what a second head imputes."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.spaces._base import Outputs
from polytask.spaces._propensity import PropensitySpace
from polytask.spaces._rows import hidden, mean_over, some
from polytask.spaces._tree import Known
from polytask.tasks import Task

_SINGLE = ("binary", "regression", "count")
"""Kinds whose loss is linear in the label but for what does not depend on the output: one number imputes a label."""


@final
class DR(PropensitySpace):
    """Doubly robust: a head imputes the label of every row, clicked rows correct its mistakes; either may be wrong.

    `L_buy = 1/n Σ_i d^_i + o_i (d_i - d^_i) / q_i`, `d = l(label, p)`, `d^ = l(imputed label, p)`, o = 1 where clicked and q as
    of `ips`; the head `buy_imputed` learns by `1/n Σ_i o_i (d_i - d^_i)^2 / q_i`. In `L_buy` the imputed label is detached, in
    the head's loss p is: neither trains the other, and nothing trains q.

    Prefer it to `ips` where clicks are rare: its weights multiply mistakes of the imputation, not whole losses. Not with a
    balancer that takes logarithms of losses: a batch of few clicks may have a loss below 0.

    Cost: one more head (and gate, and tower) for each binary, regression or count task with `given`.

    Source: Wang et al., ICML 2019 (the doubly robust joint learning whose form this is); Wang et al., SIGIR 2022 (ESCM2),
    equation numbers not at hand.

    Differs: the head imputes a label, from which the error follows; imputed directly, as ESCM2 prints it, the error has no
    gradient that would reach p, and what is left is `ips`. Public code lets the head's loss train p. ESCM2 adds the loss of
    `entire_space` times a weight: `joint_weight`. Tasks of other kinds are weighed as by `ips`: their imputed error is 0.

    Args:
        tasks: The declared tasks.
        clip: Least propensity; a larger one has less noise and more bias.
        joint_weight: What the loss of `entire_space` is multiplied by before it is added to that of a binary task with `given`.

    Raises:
        ConfigError: If `clip` is not above 0 and at most 1, `joint_weight` is below 0, or `buy_imputed` is a task already.

    Example:
        >>> from polytask.tasks import Binary
        >>> [task.name for task in DR([Binary("click"), Binary("buy", given="click")]).tasks]
        ['click', 'buy', 'buy_imputed']
    """

    def __init__(self, tasks: Sequence[Task], *, clip: float = 0.05, joint_weight: float = 0.0) -> None:
        super().__init__(tasks, clip=clip, joint_weight=joint_weight)
        self.imputing = {
            task.name: self._add_head(task, "imputed")
            for task in self.declared
            if task.given is not None and task.kind in _SINGLE
        }

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain losses, of tasks with `given` the doubly robust ones, and of the heads that impute."""
        behind = [task for task in self.declared if task.given is not None and task.name in labels]
        found = self._own_losses(outputs, {name: own for name, own in labels.items() if name not in {t.name for t in behind}})
        propensity, known = self.propensities(outputs), self.tree.joint(labels)
        for task in behind:
            if str(task.given) in known:
                found |= self._robust(task, outputs, labels[task.name], self._shares(task, labels, known, propensity))
        return self._with_joint(found, outputs, labels)

    def _shares(
        self, task: Task, labels: Mapping[str, Labels], known: Mapping[str, Known], propensity: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows that are clicked and labelled, rows that count, and `1 / q`."""
        space = self.tree.space(task, known)
        clicked = space.inside & labels[task.name].observed
        return clicked, clicked | space.outside, self.inverse(propensity[str(task.given)])

    def _robust(
        self, task: Task, outputs: Outputs, own: Labels, shares: tuple[Tensor, Tensor, Tensor]
    ) -> dict[str, Float[Tensor, ""]]:
        clicked, rows, inverse = shares
        if not some(rows if task.name in self.imputing else clicked):
            return {}
        output = hidden(outputs[task.name], rows)
        error = task.row_loss(output, torch.where(clicked, own.value, 0.0))
        if task.name not in self.imputing:
            return {task.name: mean_over(torch.where(clicked, error * inverse, 0.0), rows, own.weight)}
        head = self.imputing[task.name]
        imputed = _label(head, hidden(outputs[head.name], rows)).to(error.dtype)
        guess = task.row_loss(output, imputed.detach())
        robust = guess + torch.where(clicked, (error - guess) * inverse, 0.0)
        found = {task.name: mean_over(robust, rows, own.weight)}
        if own.count:
            missed = (error.detach() - task.row_loss(output.detach(), imputed)).square()
            found[head.name] = mean_over(torch.where(clicked, missed * inverse, 0.0), rows, own.weight)
        return found


def _label(head: Task, output: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
    """A head's estimate as a label, in the task's own encoding."""
    return output.squeeze(1) if head.kind == "regression" else head.predict(output)
