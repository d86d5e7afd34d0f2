"""Chains are learnt on all rows, by the product of their steps."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.spaces._base import Outputs, Space
from polytask.spaces._joint_losses import joint_losses, log_odds
from polytask.tasks import Task


@final
class EntireSpace(Space):
    """The loss of a step is that of the whole way to it, on every impression; p(buy | click) is learnt through the product alone.

    `L_click = mean l(click, p(click))`, `L_buy = mean l(click and buy, p(click) p(buy | click))`, both over all rows; of a
    chain the product of all its steps. There is no loss on clicked rows alone. Products are sums of logarithms: `log p = Σ log
    p_j`, and `log(1 - p)` sums over the first step that fails, so that no gradient is lost where a product rounds.

    Prefer it where clicks are rare and purchases rarer: every row says something of p(buy | click), also a batch without any
    click, and predictions on all rows are what is trained. Not where the level of p(buy | click) matters: what one factor gets
    wrong the other makes up for, and it tends to come out too high where clicks select what is bought.

    Cost: some operations on one number a row and step; measured by `benchmarks/speed/entire_space_cost.py`.

    Source: ESMM, Ma et al., SIGIR 2018, the product and the loss over all impressions (equation numbers not at hand); with the
    sharing `single_task` its ESMM-NS.

    Differs: chains and trees of any depth; each step's loss is under its own name, so a balancer may weigh it. Missing labels:
    a row without a click is a negative of `click_and_buy` whether `buy` is labelled or not; one with a click and no label of
    `buy` is left out, so that such rows lower the estimate unless labels of unclicked rows are missing alike. Tasks that are
    not binary are learnt where they exist.

    Args:
        tasks: The declared tasks.

    Raises:
        ConfigError: As of `Space`.

    Example:
        >>> import torch
        >>> from polytask.tasks import Binary
        >>> space, nan = EntireSpace([Binary("click"), Binary("buy", given="click")]), float("nan")
        >>> labels = {"click": Labels.of(torch.zeros(3)), "buy": Labels.of(torch.full((3,), nan))}
        >>> losses = space.losses({"click": torch.zeros(3, 1), "buy": torch.zeros(3, 1)}, labels)
        >>> {name: round(loss.item(), 4) for name, loss in losses.items()}  # no click, and still: -log(1 - 1/4)
        {'click': 0.6931, 'buy': 0.2877}
    """

    couples = True

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        self.couples = len(self.tree.names) > 1

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """Joint losses of all steps; the plain ones of other tasks."""
        others = {name: own for name, own in labels.items() if name not in self.tree.names}
        found = self._own_losses(outputs, others)
        found |= joint_losses(self.tree, outputs, labels, partial(log_odds, self.tree)) if self.tree.names else {}
        return {task.name: found[task.name] for task in self.declared if task.name in found}
