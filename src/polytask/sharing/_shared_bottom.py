"""Hard sharing: one trunk for all tasks."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.sharing._base import Shared, Sharing
from polytask.sharing._mlps import MLPs, for_all


@final
class SharedBottom(Sharing):
    """One trunk for all tasks; only towers and heads are their own.

    `z = f(x)`, the same `z` for every task.

    Prefer it when tasks are close or labels few: every task then trains all of it, so it overfits least, and it is the baseline
    of every comparison. Not when tasks pull against each other: what one gains the other loses, and runs end at very different
    losses (half of those on opposed synthetic tasks stay far from the best).

    Cost: one MLP, whatever the number of tasks.

    Source: Caruana 1997, "Multitask Learning"; as the Shared-Bottom model of Ma et al., KDD 2018, equation 1.

    Differs: nothing.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer of the trunk.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If a width, `activation` or `dropout` is not valid.

    Example:
        >>> import torch
        >>> SharedBottom(5, ["click", "buy"], hidden=(16,))(torch.zeros(3, 5)).outputs.shape
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
        self.trunk = MLPs(1, in_features, hidden, activation=activation, dropout=dropout)
        self.out_features = self.trunk.out_features

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives the trunk's output to every task."""
        z = self.trunk(x).squeeze(0)
        return Shared(for_all(z, len(self.tasks)), (z,))
