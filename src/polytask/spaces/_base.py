"""What every space is: how rows outside of a task's sample space are treated."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from polytask.batch import Labels
from polytask.errors import ConfigError, message
from polytask.spaces._judged import Joint
from polytask.spaces._tree import Tree
from polytask.tasks import Task

Outputs = Mapping[str, Float[Tensor, "n _"]]
"""Output of each task's head, by name."""


class Space(ABC):
    """Base of the family. Built alike: `Space(tasks, *, ...)`; exchangeable by name. It holds no parameter and no state.

    Some spaces need heads of their own (what would have been bought, had it been clicked). Such a head is an auxiliary task
    behind the declared ones: so a sharing gives it a gate and a tower, its loss has a name, and a rate or a weight can be its
    own.

    Args:
        tasks: The declared tasks.

    Raises:
        ConfigError: If `given` names an unknown or non-binary task, or forms a circle, or a name is taken.

    Attributes:
        declared: The declared tasks.
        tasks: The tasks that heads are made for: the declared ones, then the space's own.
        tree: The steps that `given` makes of the declared tasks.
    """

    couples: bool = False
    """Whether a loss reaches the heads of several tasks: gradients of tasks cannot then be told apart by their heads."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.declared = self.tasks = tuple(tasks)
        self.tree = Tree(self.declared)
        self._trained_with: dict[str, str] = {}
        self._check_names()

    @abstractmethod
    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """Loss of each task that something in this batch trains, by name, before its weight.

        Args:
            outputs: Output of each head.
            labels: Labels by declared task, in which a task with `given` is observed inside of its sample space only.
        """

    def penalty(self, outputs: Outputs) -> Float[Tensor, ""] | None:  # noqa: ARG002 - most have none
        """What training adds to the losses and no balancer weighs; None where there is nothing."""
        return None

    def steps(self, outputs: Outputs) -> dict[str, Float[Tensor, " n"]]:
        """`log p(step | the one before it)` of each step of the tree."""
        return {name: logsigmoid(outputs[name].squeeze(1)) for name in self.tree.names}

    def predict(self, outputs: Outputs, tasks: Sequence[Task] | None = None) -> dict[str, Float[Tensor, "n ..."]]:
        """Predictions on every row, on the labels' own scale, by name.

        A task with `given` has two: that of rows inside of its sample space, `buy`, and the joint one, `click_and_buy`:
        `p(click) p(buy | click)`, or `p(click) E[watch | click]`. Only where a prediction is several numbers there is no joint
        one.

        Args:
            outputs: Output of each head.
            tasks: Which tasks; those that are served where None.
        """
        outputs = {name: output.float() for name, output in outputs.items()}
        steps = self.steps(outputs)
        joint = self.tree.log_joint(steps)
        found: dict[str, Tensor] = {}
        for task in self.served if tasks is None else tasks:
            name, binary = task.name, task.kind == "binary"
            inside = binary and task.given is not None
            found[name] = steps[name].exp() if inside else task.predict(outputs[name])
            for beside in self.joints([task]):
                found[beside.name] = (joint[name] if binary else joint[str(task.given)]).exp() * (1 if binary else found[name])
        return found

    @property
    def served(self) -> tuple[Task, ...]:
        """The tasks that are predicted for users."""
        return tuple(task for task in self.tasks if not task.auxiliary)

    def joints(self, tasks: Sequence[Task] | None = None) -> tuple[Joint, ...]:
        """What is judged beside tasks with `given`: that all steps happen.

        Args:
            tasks: Which tasks; those that are served where None.
        """
        found = self.served if tasks is None else tasks
        return tuple(Joint(task, self.tree) for task in found if task.given is not None and not task.outcomes)

    def trained(self, losses: Iterable[str]) -> set[str]:
        """Names of the tasks whose heads some losses train: their own, and heads that have no loss by their own name."""
        present = set(losses)
        return present | {name for name, loss in self._trained_with.items() if loss in present}

    def _own_losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain loss of each declared task on the rows where it exists and is labelled."""
        present = [task for task in self.declared if task.name in labels and labels[task.name].count]
        return {task.name: task.loss(outputs[task.name], labels[task.name]) for task in present}

    def _add_head(self, task: Task, suffix: str, **changes: Any) -> Task:
        """A head like that of a task, behind the others: `buy_imputed`."""
        made = replace(task, name=f"{task.name}_{suffix}", **({"given": None, "auxiliary": True} | changes))
        self.tasks = (*self.tasks, made)
        self._check_names()
        return made

    def _check_names(self) -> None:
        names = [*(task.name for task in self.tasks), *(joint.name for joint in self.joints(self.declared))]
        for name, number in Counter(names).items():
            if number > 1:
                expected = "Tasks, heads of the space and joint predictions need different names."
                raise ConfigError(message(expected, received=f"{name!r} {number} times", way_out="Rename the task."))


def share(name: str, value: float, *, zero: bool = False) -> float:
    """A number above 0 and at most 1.

    Raises:
        ConfigError: If it is not.
    """
    if not (0 <= value <= 1 if zero else 0 < value <= 1):
        raise ConfigError(message(f"`{name}` lies between 0 and 1{'' if zero else ', above 0'}.", received=value))
    return value


def not_negative(name: str, value: float) -> float:
    """A finite number that is not below 0.

    Raises:
        ConfigError: If it is not.
    """
    if not 0 <= value < float("inf"):
        raise ConfigError(message(f"`{name}` must be a number of at least 0.", received=value))
    return value
