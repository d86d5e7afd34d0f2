"""Experts that read a history: attention of its last step on all, and recurrent networks."""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from polytask.sharing._mlps import MLPs

_PERIODS = 8
"""Sine and cosine pairs that say how long ago a step was; periods from 4 to 4 · 4**7 steps, each 4 times the one before."""


def present_steps(steps: Float[Tensor, "n t d"]) -> Bool[Tensor, "n t"]:
    """Which steps are there: a step whose values are all exactly 0 is padding, wherever it stands."""
    return (steps != 0).any(-1)


def mean_of_steps(x: Float[Tensor, "n *t d"]) -> Float[Tensor, "n d"]:
    """A vector a row: the input itself, or the mean over the steps that are there.

    Example:
        >>> mean_of_steps(torch.tensor([[[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]]]))
        tensor([[2., 1.]])
    """
    if x.dim() == 2:
        return x
    return x.sum(1) / present_steps(x).sum(1, keepdim=True).clamp_min(1)


@final
class Attentions(nn.Module):
    """`e` attention experts: the last step asks, all steps answer.

    `u_t = W x_t + P p(age_t)`, p sines and cosines of the number of steps since; `a = softmax_t(q(u_last) · k(u_t) / √c)` in up
    to 4 heads; `z = activation(R u_last + O Σ_t a_t v(u_t) + b)`: one layer of self-attention, computed at the step that is read.
    Further widths are dense layers.

    Cost: linear in the number of steps, not square: two products of the attention's width a step.

    Source: Vaswani et al., NeurIPS 2017; reading the last step as Kang and McAuley, "SASRec", ICDM 2018.

    Args:
        num: Number e of experts.
        in_features: Width d of a step.
        widths: Width of the attention, then of dense layers on it.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each dense layer in training.

    Raises:
        ConfigError: If a width is not positive, `dropout` is outside [0, 1) or the activation is unknown.

    Example:
        >>> Attentions(2, 5, (8, 4))(torch.ones(6, 7, 5)).shape
        torch.Size([2, 6, 4])
    """

    def __init__(
        self, num: int, in_features: int, widths: Sequence[int], *, activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dense = MLPs(num, 2 * widths[0], widths, activation=activation, dropout=dropout)  # [R O] and what follows
        self.num, self.width, self.out_features = num, widths[0], self.dense.out_features
        self.num_heads = math.gcd(4, self.width)
        self.content = _glorot(num, self.width, in_features)
        self.position = _glorot(num, self.width, 2 * _PERIODS)
        self.query, self.key, self.value = (_glorot(num, self.width, self.width) for _ in range(3))

    def forward(self, steps: Float[Tensor, "n t d"]) -> Float[Tensor, "e n h"]:
        """Output of each expert on the history of all."""
        present = present_steps(steps)
        ages = _ages(present)
        u = _each(steps, self.content) + _each(_waves(ages).to(steps.dtype), self.position)
        last = torch.einsum("nt,ntec->nec", (present & (ages == 0)).to(u.dtype), u)
        query = self._heads(torch.einsum("nec,eoc->neo", last, self.query))
        key = self._heads(torch.einsum("ntec,eoc->nteo", u, self.key))
        value = self._heads(torch.einsum("ntec,eoc->nteo", u, self.value))
        scores = torch.einsum("neac,nteac->neat", query, key) / math.sqrt(self.width / self.num_heads)
        seen = present | ~present.any(-1, keepdim=True)  # a row without a history sees its zeros
        scores = scores.masked_fill(~seen[:, None, None], float("-inf"))
        weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value.dtype)
        read = torch.einsum("neat,nteac->neac", weights, value).flatten(2)
        out: Tensor = self.dense(torch.cat([last, read], -1).transpose(0, 1))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.num_heads, -1))


@final
class GRUs(nn.Module):
    """`e` recurrent experts: the state of a gated recurrent unit after the last step.

    `r = σ(W_r x + b_r + U_r h + c_r)`, `z` likewise, `n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n))`, `h ← n + z ⊙ (h - n)`; a step
    that is padding leaves the state. Further widths are dense layers on the last state.

    Cost: t steps one after the other; on one thread of a CPU as fast as `torch.gru`, on a GPU bound by launches.

    Source: Cho et al., EMNLP 2014, in the form of `torch.nn.GRU`.

    Args:
        num: Number e of experts.
        in_features: Width d of a step.
        widths: Width of the state, then of dense layers on it.
        activation: Name in `ACTIVATIONS`, of the dense layers.
        dropout: Share of units dropped after each dense layer in training.

    Raises:
        ConfigError: If a width is not positive, `dropout` is outside [0, 1) or the activation is unknown.

    Example:
        >>> GRUs(2, 5, (8,))(torch.ones(6, 7, 5)).shape
        torch.Size([2, 6, 8])
    """

    def __init__(
        self, num: int, in_features: int, widths: Sequence[int], *, activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        checked = MLPs(num, in_features, widths, activation=activation, dropout=dropout)
        self.num, self.width, self.out_features = num, widths[0], checked.out_features
        self.input = _glorot(num, 3 * self.width, in_features)
        self.state = _glorot(num, 3 * self.width, self.width)
        self.input_bias, self.state_bias = (nn.Parameter(torch.zeros(num, 3 * self.width)) for _ in range(2))
        rest = tuple(widths)[1:]
        self.dense = MLPs(num, self.width, rest, activation=activation, dropout=dropout) if rest else None

    def forward(self, steps: Float[Tensor, "n t d"]) -> Float[Tensor, "e n h"]:
        """Output of each expert on the history of all."""
        padding = ~present_steps(steps).T.unsqueeze(-1)
        read = linear(steps.transpose(0, 1), self.input.flatten(0, 1), self.input_bias.flatten())  # t n (e 3h)
        read = torch.unflatten(read, -1, (self.num, -1)).transpose(1, 2).contiguous()
        h = read.new_zeros(self.num, steps.shape[0], self.width)
        for given, skip in zip(read.unbind(0), padding.unbind(0), strict=True):
            kept = torch.baddbmm(self.state_bias.unsqueeze(1), h, self.state.mT)
            h = torch.where(skip, h, _stepped(h, given, kept))
        out: Tensor = h if self.dense is None else self.dense(h)
        return out


def _stepped(h: Tensor, given: Tensor, kept: Tensor) -> Tensor:
    width = h.shape[-1]
    (a, b, c), (p, q, s) = torch.split(given, width, -1), torch.split(kept, width, -1)
    reset, update = torch.sigmoid(a + p), torch.sigmoid(b + q)
    return torch.lerp(torch.tanh(torch.addcmul(c, reset, s)), h, update)


def _each(x: Float[Tensor, "n t d"], weight: Float[Tensor, "e c d"]) -> Float[Tensor, "n t e c"]:
    return torch.unflatten(linear(x, weight.flatten(0, 1)), -1, weight.shape[:2])


def _ages(present: Bool[Tensor, "n t"]) -> Float[Tensor, "n t"]:
    """Number of steps that came after; padding does not count."""
    counts = present.float()
    return counts.flip(1).cumsum(1).flip(1) - counts


def _waves(ages: Float[Tensor, "n t"]) -> Float[Tensor, "n t _"]:
    frequencies = torch.tensor([2 * math.pi / 4**i for i in range(1, _PERIODS + 1)], device=ages.device)
    angles = ages.unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)


def _glorot(num: int, size: int, width: int) -> nn.Parameter:
    bound = math.sqrt(6 / (size + width))
    return nn.Parameter(torch.empty(num, size, width).uniform_(-bound, bound))
