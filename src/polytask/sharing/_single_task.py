"""No sharing: the row that every comparison needs."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import MLPs, together


@final
class SingleTask(Sharing):
    """Every task has an encoder and a bottom of its own: k models that happen to be trained together.

    `z_k = f_k(x_k)`.

    Prefer it to learn whether sharing helps at all (a comparison without it shows nothing), and where tasks conflict and labels
    abound. Not where a task has few labels: it learns from them alone.

    Cost: k encoders and k MLPs; k times a `SharedBottom` in time and memory.

    Source: the single-task model of Ma et al., KDD 2018, and of Tang et al., RecSys 2020.

    Differs: the k models run in one program, so one run gives all of them; with an optimizer that treats each parameter by itself
    (AdamW does) they end as they would alone. Clipping by a joint norm would couple them.

    Args:
        in_features: Width d of each encoder's representation.
        tasks: Names of the k tasks.
        hidden: Width of each layer of each task's bottom.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If a width, `activation` or `dropout` is not valid.

    Example:
        >>> import torch
        >>> single = SingleTask(5, ["click", "buy"], hidden=(16,))
        >>> single(torch.zeros(single.num_inputs, 3, 5)).outputs.shape
        torch.Size([2, 3, 16])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        self.num_inputs = len(self.tasks)
        self.bottoms = PerTask(
            {task: MLPs(1, in_features, hidden, activation=activation, dropout=dropout) for task in self.tasks}
        )
        self.out_features = hidden[-1]

    def forward(self, x: Float[Tensor, "*k n d"]) -> Shared:
        """Gives each task the output of its own bottom on its own input; one task alone may come as `n d`."""
        return Shared(together(self.bottoms.values(), x))
