"""Towers and heads of all tasks, and the edges by which one task reads another's estimate."""

from collections import defaultdict
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message, nearest
from polytask.sharing import MLPs, PerTask, side_by_side, together
from polytask.tasks import Task


@final
class Heads(nn.Module):
    """One tower and one linear head a task, as one MLP: `output_k = W_k tower_k([z_k; detached outputs it reads]) + b_k`.

    A task with `reads` gets the outputs (logits, not probabilities) of those tasks beside its representation. The edge is cut for
    gradients, and only the edge: the reader learns from the estimate, the estimate does not learn from the reader, and goes on
    learning from its own loss. In training the reader sees estimates made for rows that the estimator was trained on; they are
    better than those of new rows, so a reader of an overfitted task leans on it too much.

    The last bias starts where the prediction is the mean of the labels (`Task.initial_bias`): no step is spent on it.

    Args:
        in_features: Width h of each task's representation.
        tasks: The k tasks, in the order of the representations.
        hidden: Widths of each tower's layers; () puts the head on the representation.
        dropout: Share of tower units dropped in training.
        activation: Name in `polytask.sharing.ACTIVATIONS`.

    Raises:
        ConfigError: If a task reads an unknown task, the edges form a cycle, or a size is not valid.

    Example:
        >>> from polytask.tasks import Binary
        >>> heads = Heads(4, [Binary("click"), Binary("buy", reads=("click",))], hidden=(8,))
        >>> {name: tuple(output.shape) for name, output in heads(torch.zeros(2, 3, 4)).items()}
        {'click': (3, 1), 'buy': (3, 1)}
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[Task],
        *,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.tasks = tuple(tasks)
        self.order = reading_order(self.tasks)
        self._stages = _stages(self.tasks, self.order)
        out = {task.name: task.out_features for task in self.tasks}
        widths = {task.name: in_features + sum(out[name] for name in task.reads) for task in self.tasks}
        if hidden:
            towers = {name: MLPs(1, width, hidden, activation=activation, dropout=dropout) for name, width in widths.items()}
            widths = dict.fromkeys(widths, hidden[-1])
        self.towers = PerTask(towers) if hidden else None
        self.heads = PerTask({name: MLPs(1, width, (out[name],), linear_last=True) for name, width in widths.items()})
        for task in self.tasks:
            cast("MLPs", self.heads.of(task.name)).set_last_bias(task.initial_bias())

    def forward(self, representations: Float[Tensor, "k n h"], *, apart: bool = False) -> dict[str, Float[Tensor, "n _"]]:
        """Gives the output of each task, by name.

        Args:
            representations: One a task, in the order of the tasks.
            apart: Whether each task's gradient shall arrive at its own row, also where all rows are one tensor: balancers of
                gradients read it there. It costs a product a task in place of one.
        """
        outputs: dict[str, Tensor] = {}
        for stage in self._stages:
            places = list(stage.values())
            x = representations if len(places) == len(self.tasks) else torch.stack([representations[place] for place in places])
            estimates = [[outputs[read].detach() for read in self.tasks[place].reads] for place in places]
            if estimates[0]:
                x = torch.cat([x, torch.stack([torch.cat(reads, 1) for reads in estimates]).to(x.dtype)], dim=2)
            if (
                self.towers is not None and apart and x.stride(0) == 0
            ):  # each task by itself up to its loss: no pass meets another
                towers = side_by_side([self.towers.of(name) for name in stage], x, apart=True)
                found = [self._outputs([name], tower, apart=True)[0] for name, tower in zip(stage, towers, strict=True)]
            else:
                x = x if self.towers is None else together([self.towers.of(name) for name in stage], x, apart=apart)
                found = self._outputs(list(stage), x, apart=apart)
            outputs |= {name: output.squeeze(0) for name, output in zip(stage, found, strict=True)}
        return {task.name: outputs[task.name] for task in self.tasks}

    def _outputs(self, stage: Sequence[str], x: Float[Tensor, "k n h"], *, apart: bool) -> list[Float[Tensor, "1 n _"]]:
        heads = [self.heads.of(name) for name in stage]
        if not torch.is_autocast_enabled(x.device.type):
            return side_by_side(heads, x, apart=apart)
        # A logit in bfloat16 has 8 bits: predictions would tie. The last layer is small, so it is computed as it is stored.
        with torch.autocast(x.device.type, enabled=False):
            return side_by_side(heads, x.to(next(self.heads.parameters()).dtype), apart=apart)


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


def _stages(tasks: Sequence[Task], order: Sequence[str]) -> list[dict[str, int]]:
    """Tasks whose towers are of one shape and can be computed together, in reading order; name and place of each."""
    by_name = {task.name: (place, task) for place, task in enumerate(tasks)}
    depth: dict[str, int] = {}
    stages: defaultdict[tuple[int, int, int], dict[str, int]] = defaultdict(dict)
    for name in order:
        task = by_name[name][1]
        depth[name] = 1 + max((depth[read] for read in task.reads), default=-1)
        read_width = sum(by_name[read][1].out_features for read in task.reads)
        stages[depth[name], read_width, task.out_features][name] = by_name[name][0]
    return [dict(sorted(stages[key].items(), key=lambda item: item[1])) for key in sorted(stages)]
