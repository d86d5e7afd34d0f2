"""Stitches: every task's activations become a learned linear mixture of all tasks'."""

from collections.abc import Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask


@final
class Stitch(nn.Module):
    """`y_p = Σ_q α_pq x_q` over the streams of k tasks, S of them a task; α near the identity at the start.

    Row p is a parameter of its task. Its entries lie in the order of the tasks' *names*, whatever the order of the tasks, so
    that values and an optimizer's moments stay with the pair they are of. A row has one dimension, so weight decay, which
    would pull activations to 0, leaves it alone.

    Args:
        tasks: Names of the k tasks.
        num_subspaces: Streams S of each task.
        units: Weights for each pair of streams: 1, or one for each unit or channel.
        self_weight: Where α starts on its diagonal; the rest of a row is spread over the others, so rows sum to 1.
        private: Whether a row is reached by the loss of its task alone.

    Raises:
        ConfigError: If `self_weight` is outside (0, 1].

    Example:
        >>> stitch = Stitch(["click", "buy"], self_weight=0.75, private=True)
        >>> stitch.weights()[..., 0].tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """

    places: Tensor

    def __init__(
        self, tasks: Sequence[str], *, private: bool, num_subspaces: int = 1, units: int = 1, self_weight: float = 0.9
    ) -> None:
        super().__init__()
        if not 0 < self_weight <= 1:
            expected = "A stitch starts with a weight in (0, 1] for a task's own activations."
            raise ConfigError(message(expected, received=self_weight, way_out="0.9 is the published value."))
        self.num_subspaces, self.units = num_subspaces, units
        by_name = sorted(tasks)
        places = torch.tensor([by_name.index(task) for task in tasks])
        self.register_buffer("places", places, persistent=False)
        start = _near_identity(len(tasks) * num_subspaces, self_weight).view(len(tasks), num_subspaces, -1)
        rows = {task: _Row(start[by_name.index(task)].unsqueeze(-1).repeat(1, 1, units)) for task in tasks}
        self.rows = PerTask(rows, private=private)

    def weights(self) -> Float[Tensor, "p p u"]:
        """α, rows and columns in the order of the tasks, a task's subspaces beside each other."""
        num_tasks, size = len(self.places), self.num_subspaces
        rows = torch.stack([row.alpha for row in cast("list[_Row]", list(self.rows.values()))])
        by_name = rows.view(num_tasks, size, num_tasks, size, self.units)
        return by_name.index_select(2, self.places).reshape(num_tasks * size, num_tasks * size, self.units)

    def forward(self, x: Float[Tensor, "p *h"], scale: Float[Tensor, " p"] | None = None) -> Float[Tensor, "p *h"]:
        """Mixes the streams; with a weight for each unit, units are the first dimension after the streams.

        Args:
            x: The streams.
            scale: Factor of each mixture: it costs nothing here.
        """
        alpha = self.weights()
        alpha = (alpha if scale is None else alpha * scale.view(-1, 1, 1)).to(x.dtype)
        if self.units == 1:
            return torch.mm(alpha.squeeze(-1), x.flatten(1)).view(x.shape)
        by_unit = x.transpose(0, 1)
        return torch.bmm(alpha.permute(2, 0, 1), by_unit.flatten(2)).view(by_unit.shape).transpose(0, 1)


class _Row(nn.Module):
    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.alpha = nn.Parameter(alpha.flatten())


def _near_identity(size: int, self_weight: float) -> Float[Tensor, "p p"]:
    others = (1 - self_weight) / (size - 1) if size > 1 else 0.0
    return torch.full((size, size), others).fill_diagonal_(self_weight if size > 1 else 1.0)
