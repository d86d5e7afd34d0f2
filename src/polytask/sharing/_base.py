"""What every way of sharing is: one representation in, one per task out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, final

from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import PolytaskError, message


class Mixture(NamedTuple):
    """What tasks read of experts that are a place of a junction: `mixed_k = Σ_e taken_ke experts_e`, plus what is task k's own.

    Args:
        mixed: What each task reads; no other task's loss reaches its row.
        taken: What each task takes of each row of each expert.
    """

    mixed: Float[Tensor, "k n h"]
    taken: Float[Tensor, "k n e"]


class Shared(NamedTuple):
    """What a sharing gives for n rows.

    Args:
        outputs: One representation per task, in the order of the sharing's `tasks` (an expand where it is one); a feature map
            where towers of feature maps are shared.
        junction: The activations where the tasks part, or () where tasks share nothing: a complete cut. Whatever a loss sends
            back to something shared passes through exactly one of them, and none of them feeds another; so the gradients of
            all tasks at the junction, sent on, are the gradients of all that is shared.
        gates: How much of each expert each task takes (rows sum to 1), or None where nothing is gated.
        penalty: What training adds to the losses, times whatever strength was declared: a prior on weights or gates. It is no
            task's loss, so no balancer weighs it. None where there is none, and outside training.
        guesses: What an adversary reads of the shared part: logits of the task that a row is labelled for; None without one.
            `MultiTaskModel.penalty` holds them against the labels that were observed.
        mixtures: For the first places of the junction, where they are experts that tasks mix: how. The first one's `mixed` is
            `outputs`. A task's gradient at such a place is what it takes times its gradient at what it reads.
    """

    outputs: Float[Tensor, "k n *h"]
    junction: tuple[Tensor, ...] = ()
    gates: Float[Tensor, "k n e"] | None = None
    penalty: Float[Tensor, ""] | None = None
    guesses: Float[Tensor, "n k"] | None = None
    mixtures: tuple[Mixture, ...] = ()


class Sharing(nn.Module, ABC):
    """Base of the family. Built alike: `Architecture(in_features, tasks, *, ...)`; exchangeable by name.

    A parameter that belongs to one task lives in a `PerTask` container; all others are shared.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.

    Raises:
        PolytaskError: If `tasks` is empty or holds a name twice.
    """

    num_inputs: int = 1
    """How many independent encoders feed it: 1, or k where each task has its own, or k + 1 where the last is of all (`x` is then
    `i n d`)."""

    private_inputs: bool = True
    """Where each task has an encoder: whether no other task's loss reaches it (mixing towers carries other losses into it)."""

    out_features: int
    """Width h of each task's representation; every architecture sets it."""

    expert_owners: tuple[tuple[str, ...], ...] = ()
    """For each expert of `Shared.gates`, the tasks that it is for: one, a group, or all. By it monitors tell whether shared
    experts are shared and own ones used; () where that is no question, for a task shall choose few of many."""

    def __init__(self, in_features: int, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise PolytaskError(message("A sharing needs task names, each once.", received=list(tasks)))
        self.in_features = in_features
        self.tasks = tuple(tasks)

    @abstractmethod
    def forward(self, x: Float[Tensor, "*i n d"]) -> Shared:
        """Gives one representation per task."""

    def after_step(self, lr: float) -> None:
        """Called once after the optimizer stepped: a proximal step, a running estimate.

        Args:
            lr: Rate of the optimizer's first group: that of what is shared.
        """

    def penalised_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters whose size `Shared.penalty` already holds down: weight decay leaves them alone, or it would count twice."""
        return ()


@final
class PerTask(nn.ModuleDict):
    """One module per task. What lies in it is private to that task: skipped with it, trained at its rate.

    Args:
        modules: Module of each task.
        private: False where other tasks' losses reach the modules too (lower levels of a PLE): then they count as shared.

    Example:
        >>> towers = PerTask({"click": nn.Linear(3, 2), "buy": nn.Linear(3, 2)})
        >>> towers.of("buy").out_features
        2
    """

    _PREFIX = "task_"  # keeps a task called "keys" or "train" from hiding a method of nn.ModuleDict

    def __init__(self, modules: Mapping[str, nn.Module], *, private: bool = True) -> None:
        super().__init__({self._PREFIX + name: module for name, module in modules.items()})
        self.private = private

    def of(self, task: str) -> nn.Module:
        """The module of one task."""
        return self[self._PREFIX + task]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks, in order."""
        return tuple(key.removeprefix(self._PREFIX) for key in self)


def private_parameters(module: nn.Module, task: str) -> list[nn.Parameter]:
    """Parameters that belong to `task` alone: everything below a private `PerTask` at that task, each once."""
    found = (
        parameter
        for container in module.modules()
        if isinstance(container, PerTask) and container.private and task in container.names
        for parameter in container.of(task).parameters()
    )
    return list(dict.fromkeys(found))
