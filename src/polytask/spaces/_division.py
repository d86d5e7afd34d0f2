"""Heads say how likely whole chains are; what is conditional is their ratio."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from polytask.batch import Labels
from polytask.spaces._base import Outputs, Space, not_negative
from polytask.spaces._rows import some
from polytask.spaces._tree import Known
from polytask.tasks import Binary, Task


@final
class Division(Space):
    """Each step's head is trained on all rows for the whole way to it; p(buy | click) is p(click and buy) over p(click).

    `L_buy = mean over all rows of l(click and buy, s(buy))`, `p(buy | click) = s(buy) / s(click)`, s the sigmoid of a head; and
    the penalty `order_penalty Σ_steps mean max(s(step) - s(step before), 0)`

    Prefer it where the joint probability is what is used, and with `order_penalty` for models whose towers hand on along a
    chain (AITM has 0.6). Not where p(buy | click) is used: the ratio exceeds 1 where two heads disagree, mostly where clicks are
    unlikely, and is given as it comes out, for a clamp would hide it.

    Cost: none; with the penalty a few operations on one number a row.

    Source: "DIVISION" of the comparison in Ma et al., SIGIR 2018 (there with separate networks: sharing `single_task`); the
    penalty: Xi et al., KDD 2021 (AITM), the behavioural expectation calibrator.

    Differs: the penalty is not weighed by a balancer, and holds for every step of every chain. Tasks that are not binary are
    learnt where they exist.

    Args:
        tasks: The declared tasks.
        order_penalty: Strength of the penalty on steps that are likelier than those before them.

    Raises:
        ConfigError: If `order_penalty` is below 0.

    Example:
        >>> space = Division([Binary("click"), Binary("buy", given="click")])
        >>> outputs = {"click": torch.logit(torch.tensor([[0.1]])), "buy": torch.logit(torch.tensor([[0.12]]))}
        >>> {name: round(p.item(), 4) for name, p in space.predict(outputs).items()}
        {'click': 0.1, 'buy': 1.2, 'click_and_buy': 0.12}
    """

    def __init__(self, tasks: Sequence[Task], *, order_penalty: float = 0.0) -> None:
        super().__init__(tasks)
        self.order_penalty = not_negative("order_penalty", order_penalty)
        by_name = {task.name: task for task in self.declared}
        self.tasks = tuple(self._joint_rate(task, by_name) for task in self.declared)

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain losses, of each step against the label of the whole way to it."""
        found = self._own_losses(outputs, labels)
        known = self.tree.joint(labels)
        for task in self.declared:
            if task.name in self.tree.names and task.given is not None:
                found.pop(task.name, None)
                if task.name in known and self.tree.has_labels(task.name, labels) and some(known[task.name].known):
                    found[task.name] = task.loss(outputs[task.name], self._joint_labels(task, labels, known[task.name]))
        return {task.name: found[task.name] for task in self.declared if task.name in found}

    def _joint_labels(self, task: Task, labels: Mapping[str, Labels], known: Known) -> Labels:
        weight = labels[task.name].weight
        weight = torch.ones_like(known.value) if weight is None else weight  # with weights no count of rows is asked for
        return Labels(known.value, known.known, len(known.value), weight)

    def steps(self, outputs: Outputs) -> dict[str, Float[Tensor, " n"]]:
        """Differences of the heads' logarithms: above 0 where a step is said to be likelier than the one before it."""
        whole = {name: logsigmoid(outputs[name].squeeze(1)) for name in self.tree.names}
        return {name: log if (parent := self.tree.parent[name]) is None else log - whole[parent] for name, log in whole.items()}

    def penalty(self, outputs: Outputs) -> Float[Tensor, ""] | None:
        """By how much steps are likelier than those before them."""
        edges = [(name, parent) for name, parent in self.tree.parent.items() if parent is not None]
        if not edges or not self.order_penalty:
            return None
        likely = {name: outputs[name].float().sigmoid() for name in self.tree.names}
        return self.order_penalty * torch.stack([relu(likely[name] - likely[parent]).mean() for name, parent in edges]).sum()

    def _joint_rate(self, task: Task, by_name: Mapping[str, Task]) -> Task:
        """The task, whose head starts at the rate of the whole way to it."""
        chain = [by_name[name] for name in self.tree.chains[task.name]]
        if len(chain) == 1 or not isinstance(task, Binary):
            return task
        rates = [step.base_rate for step in chain if isinstance(step, Binary) and step.base_rate is not None]
        return replace(task, base_rate=math.prod(rates)) if len(rates) == len(chain) else task
