"""Towers and heads of all tasks, and the edges by which one task reads another's estimate."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message, nearest
from polytask.sharing import PerTask
from polytask.tasks import Task


class Heads(nn.Module):
    """One tower and one linear head a task.

    A task with `reads` gets the logits of those tasks beside its representation. The edge is cut for gradients: the reader
    learns from the estimate, the estimate does not learn from the reader.

    Args:
        in_features: Width h of each task's representation.
        tasks: The k tasks, in the order of the representations.
        hidden: Widths of each tower's layers; () puts the head on the representation.
        dropout: Share of tower units dropped in training.

    Raises:
        ConfigError: If a task reads an unknown task, or the edges form a cycle.
    """

    def __init__(self, in_features: int, tasks: Sequence[Task], *, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.order = reading_order(self.tasks)
        widths = {task.name: task.out_features for task in self.tasks}
        self.towers = PerTask(
            {
                task.name: _tower(in_features + sum(widths[name] for name in task.reads), hidden, task.out_features, dropout)
                for task in self.tasks
            }
        )

    def forward(self, representations: Float[Tensor, "k n h"]) -> dict[str, Float[Tensor, "n _"]]:
        """Gives the output of each task, by name."""
        inputs = {task.name: row for task, row in zip(self.tasks, representations.unbind(0), strict=True)}
        reads = {task.name: task.reads for task in self.tasks}
        outputs: dict[str, Tensor] = {}
        for name in self.order:
            estimates = [outputs[read].detach() for read in reads[name]]
            x = torch.cat([inputs[name], *estimates], dim=1) if estimates else inputs[name]
            outputs[name] = self.towers.of(name)(x)
        return {task.name: outputs[task.name] for task in self.tasks}


def reading_order(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Names of the tasks, each after those it reads.

    Raises:
        ConfigError: Names the unknown task or the cycle.
    """
    names = [task.name for task in tasks]
    for task in tasks:
        for read in task.reads:
            if read not in names:
                raise ConfigError(
                    message(f"Task {task.name!r} reads an unknown task.", received=repr(read), way_out=nearest(read, names))
                )
    try:
        return tuple(TopologicalSorter({task.name: task.reads for task in tasks}).static_order())
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise ConfigError(
            message("Tasks cannot read each other in a circle.", received=cycle, way_out="Remove one edge.")
        ) from None


def _tower(width: int, hidden: Sequence[int], out_features: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()] + ([nn.Dropout(dropout)] if dropout else [])
        width = size
    return nn.Sequential(*layers, nn.Linear(width, out_features))
