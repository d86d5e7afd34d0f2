"""What is judged beside tasks: that a whole chain happens, on all rows where that is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float

from polytask.batch import Labels
from polytask.spaces._tree import Tree
from polytask.tasks import Task


@final
@dataclass(frozen=True)
class Joint:
    """A task with `given` on every row: `click_and_buy`, or `click_and_watch` that is 0 where there was no click.

    It has what metrics, and the choice of the best weights, ask of a task.

    Args:
        task: The task.
        tree: Knows the steps before it.

    Example:
        >>> from polytask.tasks import Binary
        >>> click, buy = Binary("click"), Binary("buy", given="click")
        >>> nan = float("nan")
        >>> labels = {"click": Labels.of(torch.tensor([1.0, 0.0, nan])), "buy": Labels.of(torch.tensor([1.0, nan, nan]))}
        >>> joint = Joint(buy, Tree([click, buy]))
        >>> joint.name, joint.labels(labels).value.tolist(), joint.labels(labels).count
        ('click_and_buy', [1.0, 0.0, 0.0], 2)
    """

    task: Task
    tree: Tree
    auxiliary: bool = True
    """It chooses the best weights only where it is named (`train.main`)."""

    @property
    def name(self) -> str:
        """The steps, from the first to the task."""
        return "_and_".join(self.tree.chains[self.task.name])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of the task."""
        return self.task.metrics

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Its labels are on their own scale already."""
        return labels

    def labels(self, labels: Mapping[str, Labels]) -> Labels | None:
        """Labels on their own scale, where they are known; None where the batch lacks a column. On the host.

        Args:
            labels: Labels of the batch, on the host.
        """
        if any(step not in labels for step in self.tree.chains[self.task.name]):
            return None
        own = labels[self.task.name]
        space = self.tree.space(self.task, self.tree.joint(labels))
        happened = space.inside & own.observed
        known = happened | space.outside
        value = torch.from_numpy(np.ascontiguousarray(self.task.decode(own.value.numpy())))
        return Labels(torch.where(happened, value, 0.0), known, int(known.sum()), own.weight)
