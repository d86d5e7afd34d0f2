"""A shared encoder that must not betray the task, and private ones beside it."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import MLPs, together

_PACE = 10
"""A weight of the discriminator is this many times its parameter, so that under Adam, whose steps have the size of the rate, it
learns at ten times the rate of the encoder. At one rate the encoder runs from a judge that lags behind, and still betrays the
task to one that has time: on the rows of the test, a new probe has an AUC of up to 0.62 (four seeds), with this 0.53."""


@final
class Adversarial(Sharing):
    """Adversarial shared-private: a shared encoder from which no task can be told, and a private encoder a task beside it.

    `z_k = [s(x); p_k(x)]`; in training the losses get `cross_entropy(D(reversed(s)), task) + orthogonality Σ_k |SᵀP_k / n|²`,
    where `reversed` is `s` whose gradient is multiplied by `-strength`: the discriminator D learns which task a row is labelled
    for, the encoder to leave it in the dark.

    Prefer it where each row is labelled for one task and tasks are domains (shops, languages, machines): what is shared is then
    what domains have in common, and serves a new one. Not where rows carry labels of all tasks: there is no task to tell, the
    adversary idles and a `PLE` does the same for less. Nor where labels differ by domain in how often they are positive:
    shared features that hide the domain cannot say so, private ones must.

    Cost: k + 1 MLPs, and in training the discriminator. Adversaries can take long to settle; `ramp_steps` starts them gently.

    Source: Liu, Qiu and Huang, ACL 2017, "Adversarial Multi-task Learning for Text Classification". Reversal and its ramp: Ganin
    et al., JMLR 2016, "Domain-Adversarial Training of Neural Networks".

    Differs: `strength` holds back the encoder only (published: 0.05 on both sides); the discriminator learns at ten times the
    rate, has a hidden layer, and reads units standardised over the rows of the batch, or the encoder would shrink what betrays
    the task instead of dropping it. `SᵀP` is divided by the number of rows, so that it does not grow with the batch, and taken
    over all rows for each task, not only over those labelled for it. MLPs instead of recurrent encoders.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer of the shared encoder.
        private_hidden: Width of each layer of a private encoder.
        discriminator: Widths of the discriminator's hidden layers; () is linear, as published.
        strength: What the gradient of the discriminator is multiplied by on its way back; 0 is no adversary.
        ramp_steps: Optimizer steps over which the strength rises from 0 as `2 / (1 + exp(-10 step / ramp_steps)) - 1`; 0 is at
            once.
        orthogonality: Weight of the penalty that keeps shared and private units uncorrelated.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of encoder units dropped after each layer in training.

    Raises:
        ConfigError: If a size, a weight, `activation` or `dropout` is not valid.

    Example:
        >>> adversarial = Adversarial(5, ["books", "films"], hidden=(16,), private_hidden=(8,))
        >>> shared = adversarial(torch.zeros(3, 5))
        >>> shared.outputs.shape, shared.guesses.shape
        (torch.Size([2, 3, 24]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
        private_hidden: Sequence[int] = (64,),
        discriminator: Sequence[int] = (64,),
        strength: float = 1.0,
        ramp_steps: int = 0,
        orthogonality: float = 0.01,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        _check(strength, ramp_steps, orthogonality, discriminator)
        self.strength, self.ramp_steps, self.orthogonality = strength, ramp_steps, orthogonality
        self.shared = MLPs(1, in_features, hidden, activation=activation, dropout=dropout)
        self.private = PerTask(
            {task: MLPs(1, in_features, private_hidden, activation=activation, dropout=dropout) for task in self.tasks}
        )
        self.discriminator = _Discriminator([hidden[-1], *discriminator], self.tasks)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: Tensor
        self.out_features = hidden[-1] + private_hidden[-1]

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task the shared representation beside its own."""
        entry = x.view_as(x)  # its own place in the graph: what private encoders send back
        common = self.shared(x).squeeze(0)
        own = together(self.private.values(), entry)
        outputs = torch.cat([common.expand(len(self.tasks), -1, -1), own], dim=-1)
        if not self.training:
            return Shared(outputs, (common, entry))
        penalty = self.orthogonality * overlap(common, own) if self.orthogonality else None
        guesses = self.discriminator(reversed_gradient(common, self.reversal()))
        return Shared(outputs, (common, entry), penalty=penalty, guesses=guesses)

    def after_step(self, lr: float) -> None:  # noqa: ARG002 - the strength rises by steps
        """Lets the strength rise."""
        self.steps += 1

    def reversal(self) -> Float[Tensor, ""]:
        """What the discriminator's gradient is multiplied by in the next step, but for its sign."""
        if not self.ramp_steps:
            return self.strength * torch.ones_like(self.steps, dtype=torch.float32)
        progress = (self.steps / self.ramp_steps).clamp(max=1)
        return self.strength * (5 * progress).tanh()  # tanh(5 p) = 2 / (1 + exp(-10 p)) - 1


class _Discriminator(nn.Module):
    """Which task a row is labelled for: logits, from units standardised over the rows."""

    def __init__(self, widths: Sequence[int], tasks: Sequence[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_FastLayer(width, size) for width, size in pairwise(widths))
        self.verdicts = PerTask({task: _FastLayer(widths[-1], 1) for task in tasks}, private=False)  # rows kept by name

    def forward(self, x: Float[Tensor, "n h"]) -> Float[Tensor, "n k"]:
        verdicts = cast("list[_FastLayer]", list(self.verdicts.values()))
        with torch.autocast(x.device.type, enabled=False):  # close to a draw, 8 bits of an activation decide nothing
            x = x.to(verdicts[0].weight.dtype)
            x = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-3).sqrt()
            for layer in cast("list[_FastLayer]", list(self.layers)):
                x = linear(x, _PACE * layer.weight, _PACE * layer.bias).relu()
            weight, bias = (torch.cat([getattr(verdict, name) for verdict in verdicts]) for name in ("weight", "bias"))
            return linear(x, _PACE * weight, _PACE * bias)


class _FastLayer(nn.Module):
    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (width + size)) / _PACE
        self.weight = nn.Parameter(nn.init.uniform_(torch.empty(size, width), -bound, bound))
        self.bias = nn.Parameter(torch.zeros(size))


def reversed_gradient(x: Float[Tensor, "*n h"], strength: Float[Tensor, ""]) -> Float[Tensor, "*n h"]:
    """The same numbers, whose gradient is multiplied by `-strength` on its way back.

    Plain arithmetic, so that it goes through `vmap`, export and the compiler like any product; what is added is exactly 0.

    Example:
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> reversed_gradient(x, torch.tensor(0.5)).backward()
        >>> x.grad
        tensor([-0.5000])
    """
    still = x.detach()
    return still - strength.to(x.dtype) * (x - still)


def overlap(common: Float[Tensor, "n s"], own: Float[Tensor, "k n p"]) -> Float[Tensor, ""]:
    """`Σ_k |SᵀP_k / n|²`: how much the units of what is common and of what is own rise together.

    Example:
        >>> overlap(torch.tensor([[1.0], [1.0]]), torch.tensor([[[2.0], [4.0]]]))
        tensor(9.)
    """
    with torch.autocast(common.device.type, enabled=False):  # squares of sums over all rows: 8 bits are too few
        kind = torch.promote_types(common.dtype, torch.float32)
        products = torch.einsum("ns,knp->ksp", common.to(kind), own.to(kind)) / common.shape[0]
        return products.square().sum()


def _check(strength: float, ramp_steps: int, orthogonality: float, widths: Sequence[int]) -> None:
    if min(strength, ramp_steps, orthogonality) < 0:
        received = f"strength={strength}, ramp_steps={ramp_steps}, orthogonality={orthogonality}"
        way_out = "The reversal turns the sign itself; 0 switches a part off."
        raise ConfigError(message("Strengths and steps of an adversary are not negative.", received=received, way_out=way_out))
    if min(widths, default=1) < 1:
        way_out = "() is a linear one."
        raise ConfigError(message("A discriminator needs positive widths.", received=list(widths), way_out=way_out))
