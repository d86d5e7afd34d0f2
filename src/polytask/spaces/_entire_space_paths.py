"""Several ways lead from a click to a purchase."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from polytask.batch import Labels
from polytask.errors import ConfigError, message, nearest
from polytask.spaces._base import Outputs, Space
from polytask.spaces._joint_losses import Rows, joint_losses, logits_on
from polytask.spaces._tree import Tree
from polytask.tasks import Binary, Task


@final
class EntireSpacePaths(Space):
    """As `entire_space`, but p(buy | click) is a mixture: after some action (cart, wish) or after none of them.

    `p(buy | click) = p(A | click) p(buy | A) + (1 - p(A | click)) p(buy | other)`, A that any of the actions was taken. Losses
    over all rows, as of `entire_space`: of click, of `click and A`, of `click and buy`. The head of `buy` is p(buy | A);
    `buy_otherwise` is p(buy | other), and is trained by the loss of `buy`. Several actions have a head `buy_action` for A, with
    a loss; one has its own.

    Prefer it where actions between click and purchase are logged and frequent: they say of unsold items how close it was. Not
    without such actions, nor where an action is only taken by those who buy anyway: then `p(buy | other)` has nothing to learn
    from.

    Cost: one or two more heads for each task with actions.

    Source: ESM2, Wen et al., SIGIR 2020, the graph from impression to purchase; equation numbers not at hand.

    Differs: any number of tasks may have actions. The label of A is known where one action is labelled 1, or all are labelled.
    Mixtures are taken in log space.

    Args:
        tasks: The declared tasks.
        actions: For each binary task that is reached on several ways, the actions: binary tasks that are `given` the same task.

    Raises:
        ConfigError: If a name is not one of a binary task with the same `given`, a task has no action, or a head's name is taken.

    Example:
        >>> tasks = [Binary("click"), Binary("cart", given="click"), Binary("wish", given="click"), Binary("buy", given="click")]
        >>> [task.name for task in EntireSpacePaths(tasks, actions={"buy": ["cart", "wish"]}).tasks[4:]]
        ['buy_action', 'buy_otherwise']
    """

    def __init__(self, tasks: Sequence[Task], *, actions: Mapping[str, Sequence[str]]) -> None:
        super().__init__(tasks)
        self.actions = {name: tuple(found) for name, found in actions.items()}
        by_name = {task.name: task for task in self.declared}
        self._check_actions(by_name)
        self.couples = len(self.tree.names) > 1
        self._head_of_actions: dict[str, str] = {}
        made = []
        for name, found in self.actions.items():
            task = by_name[name]
            if len(found) > 1:
                rates = [rate for one in found if isinstance(step := by_name[one], Binary) and (rate := step.base_rate)]
                rate = max(rates) if len(rates) == len(found) else None  # of any action: at least that of the most frequent
                made.append(self._add_head(task, "action", given=task.given, base_rate=rate))
            self._head_of_actions[name] = made[-1].name if len(found) > 1 else found[0]
            self._trained_with[self._add_head(task, "otherwise").name] = name
        self._learnt = Tree([*self.declared, *made])

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """Joint losses of all steps; the plain ones of other tasks."""
        found = self._own_losses(outputs, {name: own for name, own in labels.items() if name not in self.tree.names})
        more = {f"{name}_action": self._any(found, labels) for name, found in self.actions.items() if len(found) > 1}
        known = {**labels, **{name: any_of for name, any_of in more.items() if any_of is not None}}
        found |= joint_losses(self._learnt, outputs, known, self._conditional) if self._learnt.names else {}
        return {task.name: found[task.name] for task in self.tasks if task.name in found}

    def steps(self, outputs: Outputs) -> dict[str, Float[Tensor, " n"]]:
        """Of the heads, and of tasks with actions of both ways together."""
        rows = torch.ones_like(next(iter(outputs.values())).squeeze(1), dtype=torch.bool)
        everywhere = dict.fromkeys(self._learnt.names, rows)
        happens, _ = self._conditional(outputs, everywhere)
        return {name: log for name, log in zip(self._learnt.names, happens.unbind(), strict=True) if name in self.tree.names}

    def _conditional(self, outputs: Outputs, rows: Rows) -> tuple[Float[Tensor, "k n"], Float[Tensor, "k n"]]:
        """Logarithms of all steps at once: a mixture is three heads, each seen on the rows of the task."""
        names = [name for name in self._learnt.names if name not in self.actions]
        heads = [(name, name) for name in names]
        heads += [(head, name) for name in self.actions for head in (self._head_of_actions[name], name, f"{name}_otherwise")]
        logits = logits_on(outputs, [head for head, _ in heads], [rows[whose] for _, whose in heads])
        logs = logsigmoid(torch.stack([logits, -logits]))  # 2 h n: that it happens, that it does not
        found = dict(zip(names, logs.unbind(1), strict=False))
        for place, name in enumerate(self.actions):
            action, after, other = logs[:, len(names) + 3 * place : len(names) + 3 * place + 3].unbind(1)
            found[name] = torch.logaddexp(action[0] + after, action[1] + other)
        happens, fails = torch.stack([found[name] for name in self._learnt.names], 1).unbind()
        return happens, fails

    def _any(self, actions: Sequence[str], labels: Mapping[str, Labels]) -> Labels | None:
        """Labels of "any action": 1 where one is, 0 where all are labelled and none is."""
        if any(name not in labels for name in actions):
            return None
        each = [labels[name] for name in actions]
        taken = torch.stack([own.observed & (own.value == 1) for own in each]).any(0)
        observed = taken | torch.stack([own.observed for own in each]).all(0)
        return Labels(taken.to(each[0].value.dtype), observed, min(own.count for own in each), each[0].weight)

    def _check_actions(self, by_name: Mapping[str, Task]) -> None:
        for name, found in self.actions.items():
            for one in (name, *found):
                if one not in by_name:
                    raise ConfigError(
                        message("`actions` names an unknown task.", received=repr(one), way_out=nearest(one, by_name))
                    )
            task = by_name[name]
            fitting = [
                other.name
                for other in self.declared
                if other.kind == "binary" and other.given == task.given and other is not task
            ]
            wrong = [one for one in found if one not in fitting]
            if task.kind != "binary" or task.given is None or wrong or not found:
                expected = f"`actions` of {name!r} must be binary tasks that are `given` what it is given."
                raise ConfigError(message(expected, received=wrong or list(found), way_out=f"There are {fitting}."))
