"""What every balancer is: many losses in, one direction out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from polytask.errors import PolytaskError, message, nearest
from polytask.sharing import Shared


class Balance(NamedTuple):
    """What was decided in one step; logs and studies read this one object. Nothing in it waits for the device.

    Args:
        losses: Loss of each task that was present, detached.
        weights: What each loss was multiplied by, detached.
        gramian: Inner products of task gradients in the order of `losses`, or None where none were measured.
    """

    losses: dict[str, Tensor]
    weights: dict[str, Tensor]
    gramian: Tensor | None = None


class Balancer(nn.Module, ABC):
    """Base of the family. Built alike: `Balancer(tasks, *, ...)`; state is kept by task name, never by position.

    Example:
        >>> # one line changes in the loop of a user: loss.backward() becomes
        >>> # balancer.backward({"click": click_loss, "buy": buy_loss})

    Args:
        tasks: Names of the k tasks.

    Raises:
        PolytaskError: If `tasks` is empty or holds a name twice.
    """

    compares_gradients: bool = False
    """Whether it looks at each task's gradient; models then keep the tasks' gradients apart (`MultiTaskModel.forward`)."""

    changes_model: bool = False
    """Whether the forward pass needs it, in serving too: a declared run, which serves the model alone, refuses it."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise PolytaskError(message("A balancer needs task names, each once.", received=list(tasks)))
        self.tasks = tuple(tasks)

    @abstractmethod
    def backward(
        self,
        losses: Mapping[str, Tensor],
        shared: Iterable[nn.Parameter] = (),
        junction: Shared | Sequence[Tensor] = (),
        penalty: Tensor | None = None,
    ) -> Balance:
        """Adds the balanced gradient to `.grad`, as `loss.backward()` would. A task that is not in `losses` is absent.

        Args:
            losses: Scalar loss of each present task.
            shared: Parameters that all tasks use; () reads them off the graph.
            junction: Where the tasks part: what a sharing gave (all gradients in one pass through the heads), or activations
                that are a complete cut; () reads the place off the graph.
            penalty: What is added to the losses whatever their weights: a prior on weights or gates, an adversary.
        """

    def after_step(self, losses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Called once after the optimizer stepped; `losses()` evaluates the same batch again, with the same random numbers."""

    def after_epoch(self) -> None:
        """Called once after each pass over the data."""

    def _check(self, losses: Mapping[str, Tensor]) -> None:
        if not losses:
            raise PolytaskError(message("A balancer needs at least one loss.", received="{}", way_out="Skip the step."))
        for name in losses:
            if name not in self.tasks:
                raise PolytaskError(message("Unknown task in losses.", received=repr(name), way_out=nearest(name, self.tasks)))
