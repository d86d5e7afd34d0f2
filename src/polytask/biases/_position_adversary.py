"""Representations from which the position cannot be told."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from polytask.batch import Features
from polytask.biases._base import Bias, Corrected
from polytask.encoders import FittedColumns
from polytask.errors import ConfigError, message
from polytask.sharing import reversed_gradient
from polytask.tasks import Task

_PACE = 10
"""A weight of the discriminator is this many times its parameter: under Adam it learns at ten times the rate of the encoder. At
one rate the encoder runs from a judge that lags behind (measured for the sharing `adversarial`)."""


@final
class PositionAdversary(Bias):
    """An adversary guesses the position from the named tasks' representations, which learn to keep it in the dark.

    In training the losses get `weight mean_k cross_entropy(D(reversed(z_k)), position)`, where `reversed` multiplies the gradient
    by `-strength`.

    Prefer it where positions were given without regard to what was shown, so that nothing of use goes with them. Not for the log
    of a ranking: there relevant things stand on top, and who hides the position must hide relevance. It does not remove what
    position did to the labels either; a `ShallowTower` does.

    Cost: a small network in training.

    Source: Ganin et al., JMLR 2016, "Domain-Adversarial Training of Neural Networks"; as a remedy for position the comparison of
    Zhao et al., RecSys 2019, "Recommending What Video to Watch Next".

    Differs: one discriminator for all named tasks, of units standardised over the batch, at ten times the rate of the encoder,
    as that of the sharing `adversarial`.

    Args:
        preprocessing: Fitted columns, the bias columns among the categorical ones.
        columns: Bias columns, the position first; what is guessed is the first.
        tasks: Names of the binary tasks whose labels depend on them.
        known: Those of `columns` that are known when rows are scored, such as the device: the encoder reads them as well.
        strength: What the adversary's gradient is multiplied by on its way back; 0 is no adversary.
        discriminator: Widths of its hidden layers.

    Raises:
        ConfigError: If a column is unknown, a width is not positive, or the strength is negative.

    Example:
        >>> from polytask.data import CategoricalField, Preprocessing
        >>> from polytask.data.vocabulary import Vocabulary
        >>> from polytask.tasks import Binary
        >>> columns = Preprocessing((CategoricalField("position", Vocabulary("integer", (1, 2))),), (), (), ())
        >>> bias = PositionAdversary(columns, columns=["position"], tasks=["click"])
        >>> bias.attach([Binary("click")], in_features=8)
        >>> shown = Features(torch.tensor([[3], [4]]), torch.zeros(2, 0))
        >>> bias.correct({"click": torch.zeros(2, 1)}, shown, torch.zeros(1, 2, 8)).penalty.shape
        torch.Size([])
    """

    def __init__(
        self,
        preprocessing: FittedColumns,
        *,
        columns: Sequence[str],
        tasks: Sequence[str],
        known: Sequence[str] = (),
        strength: float = 1.0,
        discriminator: Sequence[int] = (64,),
    ) -> None:
        super().__init__(preprocessing, columns=columns, tasks=tasks, known=known)
        if strength < 0:
            way_out = "The reversal turns the sign itself; 0 switches it off."
            raise ConfigError(message("The strength of an adversary is not negative.", received=strength, way_out=way_out))
        if min(discriminator, default=1) < 1:
            raise ConfigError(message("A discriminator needs positive widths.", received=list(discriminator)))
        self.strength, self.widths = strength, tuple(discriminator)
        self.discriminator: _Discriminator | None = None

    def attach(self, tasks: Sequence[Task], in_features: int) -> None:
        """Makes the discriminator, which depends on the representations' width."""
        super().attach(tasks, in_features)
        names = [task.name for task in tasks]
        self.judged = [names.index(name) for name in self.tasks]
        self.discriminator = _Discriminator([in_features, *self.widths, self.sizes[0]])

    def correct(self, by_task: Mapping[str, Float[Tensor, "n _"]], shown: Features, shared: Float[Tensor, "k n *h"]) -> Corrected:
        """Outputs as they are, and what the adversary loses."""
        assert self.discriminator is not None  # noqa: S101 - the model attached it
        strength = torch.as_tensor(self.strength, device=shared.device)
        position = shown.categorical.index_select(1, self.places[:1]).squeeze(1).long()
        lost = [
            cross_entropy(self.discriminator(reversed_gradient(shared[place].flatten(1), strength)), position)
            for place in self.judged
        ]
        return Corrected(dict(by_task), penalty=torch.stack(lost).mean())


class _Discriminator(nn.Module):
    """Which position a row was shown at: logits, from units standardised over the rows, at ten times the rate."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, size) for width, size in pairwise(widths))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.div_(_PACE)

    def forward(self, x: Float[Tensor, "n h"]) -> Float[Tensor, "n p"]:
        layers = cast("list[nn.Linear]", list(self.layers))
        with torch.autocast(x.device.type, enabled=False):  # close to a draw, 8 bits of an activation decide nothing
            x = x.to(layers[0].weight.dtype)
            x = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-3).sqrt()
            for layer in layers[:-1]:
                x = linear(x, _PACE * layer.weight, _PACE * layer.bias).relu()
            return linear(x, _PACE * layers[-1].weight, _PACE * layers[-1].bias)
