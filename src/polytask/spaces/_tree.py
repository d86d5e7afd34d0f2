"""What `given` makes of tasks: a forest of steps, each of which happens only after the one before it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.batch import Labels
from polytask.errors import ConfigError, message
from polytask.tasks import Task, given_chain


class Known(NamedTuple):
    """Whether a step and all before it happened, on n rows.

    Args:
        value: 1 where all happened, else 0; meaningful where known.
        known: True where it is known: some step before is known not to have happened, or all are labelled.
    """

    value: Float[Tensor, " n"]
    known: Bool[Tensor, " n"]

    @property
    def inside(self) -> Bool[Tensor, " n"]:
        """Rows on which all is known to have happened: the sample space of what is given this step."""
        return self.known & (self.value == 1)

    @property
    def outside(self) -> Bool[Tensor, " n"]:
        """Rows that are known to be outside of that space."""
        return self.known & (self.value != 1)


@final
class Tree:
    """Binary tasks that are given another, or that another is given; parents before children.

    Args:
        tasks: All tasks.

    Raises:
        ConfigError: Names an unknown or non-binary parent, or the circle.

    Example:
        >>> from polytask.tasks import Binary, Regression
        >>> tree = Tree([Binary("buy", given="click"), Regression("paid", given="buy"), Binary("click"), Binary("like")])
        >>> tree.names, tree.chains["paid"]
        (('click', 'buy'), ('click', 'buy', 'paid'))
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        by_name = {task.name: task for task in tasks}
        self.chains = {task.name: (*reversed(given_chain(tasks, task.name)), task.name) for task in tasks}
        """For each task the steps to it, from the first to itself."""
        parents = {task.given for task in tasks if task.given is not None}
        for parent in sorted(parents):
            if by_name[parent].kind != "binary":
                received = f"{parent!r}, which is {by_name[parent].kind}"
                raise ConfigError(message("A sample space (`given`) is that of a binary task.", received=received))
        steps = [task for task in tasks if task.name in parents or (task.given is not None and task.kind == "binary")]
        steps.sort(key=lambda task: len(self.chains[task.name]))  # stable: within a level as declared
        self.names = tuple(task.name for task in steps)
        self.parent = {task.name: task.given for task in steps}

    def space(self, task: Task, known: Mapping[str, Known]) -> Known:
        """Whether rows are in a task's sample space.

        Args:
            task: A task with `given`.
            known: What `joint` gave.
        """
        return known[str(task.given)]

    def has_labels(self, name: str, labels: Mapping[str, Labels]) -> bool:
        """Whether the batch has labels of a step's first ancestor, and a column of each step up to it."""
        chain = self.chains[name]
        return all(step in labels for step in chain) and labels[chain[0]].count > 0

    def joint(self, labels: Mapping[str, Labels]) -> dict[str, Known]:
        """Whether each step and all before it happened, where that is known.

        Parent 0: 0. Parent 1 and own label: the own label. Parent 1 without an own label, or parent missing: missing.

        Args:
            labels: Labels of the batch; steps that it has no column of, and all after them, are left out.
        """
        found: dict[str, Known] = {}
        for name in self.names:
            parent = self.parent[name]
            if name not in labels or (parent is not None and parent not in found):
                continue
            own, observed = labels[name].value, labels[name].observed
            if parent is None:
                found[name] = Known(own, observed)
            else:
                inside = found[parent].inside & observed
                found[name] = Known(torch.where(inside, own, 0.0), inside | found[parent].outside)
        return found

    def log_joint(self, steps: Mapping[str, Float[Tensor, " n"]]) -> dict[str, Float[Tensor, " n"]]:
        """`log p(step and all before it) = Σ log p(step | the one before)`, from the terms of that sum."""
        found: dict[str, Tensor] = {}
        for name in self.names:
            parent = self.parent[name]
            found[name] = steps[name] if parent is None else found[parent] + steps[name]
        return found

    def log_likelihoods(
        self, happens: Float[Tensor, "k n"], fails: Float[Tensor, "k n"]
    ) -> tuple[Float[Tensor, "k n"], Float[Tensor, "k n"]]:
        """Logarithms of the probabilities that all of a chain happens, and that it does not.

        `log p = Σ_j log p_j`, and `log(1 - p) = log Σ_j (Π_{i<j} p_i) (1 - p_j)`: the chain fails first at step j. Nothing is
        subtracted, so both keep their digits and their gradients where a product rounds to 0 or to 1.

        Args:
            happens: `log p_j` of each step given the one before, in the order of `names`.
            fails: `log(1 - p_j)`.
        """
        all_of_it: dict[str, Tensor] = {}
        not_all: dict[str, Tensor] = {}
        for name, happens_then, fails_then in zip(self.names, happens.unbind(), fails.unbind(), strict=True):
            parent = self.parent[name]
            if parent is None:
                all_of_it[name], not_all[name] = happens_then, fails_then
            else:
                all_of_it[name] = all_of_it[parent] + happens_then
                not_all[name] = torch.logaddexp(not_all[parent], all_of_it[parent] + fails_then)
        return torch.stack(list(all_of_it.values())), torch.stack(list(not_all.values()))
