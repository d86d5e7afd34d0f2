"""Encoder, sharing, heads: one model for all tasks."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.batch import Features, Labels
from polytask.heads import Heads
from polytask.sharing import Sharing
from polytask.tasks import Task


class Outputs(NamedTuple):
    """What the model gives for n rows.

    Args:
        by_task: Output of each task's head: logits, standardised values, log rates.
        junction: Activations where the tasks part (`Shared.junction`).
        gates: How much of each expert each task takes (`Shared.gates`).
    """

    by_task: dict[str, Float[Tensor, "n _"]]
    junction: tuple[Tensor, ...] = ()
    gates: Float[Tensor, "k n e"] | None = None


class MultiTaskModel(nn.Module):
    """`outputs = heads(sharing(encoder(features)))`.

    Args:
        encoders: One encoder, or as many as the sharing asks for (`sharing.num_inputs`); each maps `Features` to `n d`.
        sharing: One representation in, one per task out.
        heads: From representations to outputs; it holds the tasks.
    """

    def __init__(self, encoders: Sequence[nn.Module], sharing: Sharing, heads: Heads) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.sharing = sharing
        self.heads = heads

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order of the sharing's outputs."""
        return self.heads.tasks

    def forward(self, features: Features) -> Outputs:
        """Gives every task's output on every row."""
        inputs = [encoder(features) for encoder in self.encoders]
        shared = self.sharing(inputs[0] if self.sharing.num_inputs == 1 else torch.stack(inputs))
        return Outputs(self.heads(shared.outputs), shared.junction, shared.gates)

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """Loss of each task that has a label in this batch, times the task's weight."""
        present = [task for task in self.tasks if task.name in labels and labels[task.name].count]
        return {task.name: task.weight * task.loss(outputs.by_task[task.name], labels[task.name]) for task in present}

    def predict(self, features: Features) -> dict[str, Float[Tensor, "n ..."]]:
        """Predictions of the served tasks on their labels' own scale."""
        outputs = self(features).by_task
        return {task.name: task.predict(outputs[task.name]) for task in self.tasks if not task.auxiliary}
