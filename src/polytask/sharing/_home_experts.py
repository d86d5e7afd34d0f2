"""The experts of HoME: normalised, with swish, each behind feature gates of its own; all owners' computed together."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, sigmoid

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._gates import few_softmax
from polytask.sharing._mlps import MLPs, StackedLayer, compute_stacked, together

NORMS = ("layer", "batch", "none")
_MOMENTUM, _EPSILON = 0.1, 1e-5  # of torch.nn.BatchNorm1d


class ExpertOptions(NamedTuple):
    """What all experts of one HoME have in common.

    Args:
        num_feature_gates: Low-rank gates on each expert's input; 0 leaves the input as it is.
        feature_rank: Their rank.
        norm: "layer", "batch" or "none".
        dropout: Share of units dropped after each layer in training.
    """

    num_feature_gates: int
    feature_rank: int
    norm: str
    dropout: float

    def check(self) -> "ExpertOptions":
        """The same; raises a `ConfigError` where they are not valid."""
        if self.norm not in NORMS:
            raise ConfigError(message("Unknown norm.", received=repr(self.norm), way_out=nearest(self.norm, NORMS)))
        if self.num_feature_gates < 0 or self.feature_rank < 1:
            received = f"num_feature_gates={self.num_feature_gates}, feature_rank={self.feature_rank}"
            raise ConfigError(message("Feature gates are 0 or more, of rank 1 or more.", received=received))
        return self


@final
class GatedExperts(nn.Module):
    """Experts of one owner: `swish(norm(MLP(x * gate(x))))`, where `gate(x) = Σ_j softmax(W x)_j 2 sigmoid(x B_j A_j)`.

    A starts at 0, so every gate starts at 1.

    Args:
        num: Number e of experts.
        in_features: Width d of their input.
        hidden: Width of each layer of an expert.
        options: What all experts have in common.
    """

    gives_experts = True  # `polytask.monitors` looks at what comes out

    def __init__(self, num: int, in_features: int, hidden: Sequence[int], options: ExpertOptions) -> None:
        super().__init__()
        self.num, self.num_gates = num, options.num_feature_gates
        dropout = options.dropout
        self.body = MLPs(num, in_features, hidden, activation="silu", dropout=dropout, linear_last=True)
        if self.num_gates:
            low = (options.feature_rank,)
            self.down = MLPs(num * self.num_gates, in_features, low, linear_last=True, last_bias=False)
            self.up = MLPs(num * self.num_gates, *low, (in_features,), linear_last=True, last_bias=False)
            self.choice = MLPs(num, in_features, (self.num_gates,), linear_last=True, last_bias=False)
            for weight in self.up.parameters():
                nn.init.zeros_(weight)
        self.norm = None if options.norm == "none" else _Norm(num, hidden[-1], batch=options.norm == "batch")
        self.then = nn.Sequential(nn.SiLU(), nn.Dropout(dropout)) if dropout else nn.SiLU()

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "e n h"]:
        """Output of each expert."""
        return _compute([self], x)


def gated_side_by_side(owners: Iterable[nn.Module], x: Float[Tensor, "*g n d"]) -> Float[Tensor, "g e n h"]:
    """Output of the experts of g owners, all on one input (`n d`), or each owner's on an input of its own (`g n d`)."""
    owners = cast("list[GatedExperts]", list(owners))
    if not torch.is_grad_enabled() and any(module._forward_hooks for owner in owners for module in owner.modules()):
        inputs = [x] * len(owners) if x.dim() == 2 else list(x.unbind(0))
        return torch.stack([owner(one) for owner, one in zip(owners, inputs, strict=True)])  # a hook sees its own owner alone
    outputs = _compute(owners, x)
    return outputs.reshape(len(owners), -1, *outputs.shape[1:])


def _compute(owners: Sequence[GatedExperts], x: Float[Tensor, "*g n d"]) -> Float[Tensor, "_ n h"]:
    first = owners[0]
    if first.num_gates:
        x = _gated(owners, x)
    elif x.dim() == 3:
        x = x.repeat_interleave(first.num, 0)
    z = compute_stacked(x, _joined([owner.body for owner in owners]))
    norms = [owner.norm for owner in owners if owner.norm is not None]
    output: Tensor = first.then(_normalised(norms, z) if norms else z)
    return output


def _gated(owners: Sequence[GatedExperts], x: Float[Tensor, "*g n d"]) -> Float[Tensor, "_ n d"]:
    """The input of each expert, as its feature gates let it through."""
    low = together([owner.down for owner in owners], x)
    high = compute_stacked(low, _joined([owner.up for owner in owners]))
    choice = few_softmax(together([owner.choice for owner in owners], x))
    opened = sigmoid(high).reshape(len(choice), -1, *high.shape[1:]).unbind(1)
    shares = torch.split((2 * choice).to(high.dtype), 1, dim=2)
    # One pass a gate: a product over so few gates took half of the step.
    gates: Tensor = opened[0] * shares[0]
    for let, share in zip(opened[1:], shares[1:], strict=True):
        gates = torch.addcmul(gates, let, share)
    if x.dim() == 2:
        return x * gates
    return (x.unsqueeze(1) * gates.reshape(len(owners), -1, *gates.shape[1:])).flatten(0, 1)


def _joined(stacks: Sequence[MLPs]) -> list[StackedLayer]:
    columns = zip(*(stack.steps() for stack in stacks), strict=True)
    return [StackedLayer(torch.cat([step.weight for step in column]), _biases(column), column[0].then) for column in columns]


def _biases(column: Sequence[StackedLayer]) -> Float[Tensor, "e o"] | None:
    biases = [step.bias for step in column if step.bias is not None]
    return torch.cat(biases) if biases else None


@final
class _Norm(nn.Module):
    """Scale and shift of e experts' units, and for a batch norm what it has seen of them."""

    mean: Tensor
    variance: Tensor

    def __init__(self, num: int, width: int, *, batch: bool) -> None:
        super().__init__()
        self.batch = batch
        self.scale = nn.Parameter(torch.ones(num, width))
        self.shift = nn.Parameter(torch.zeros(num, width))
        if batch:
            self.register_buffer("mean", torch.zeros(num, width))
            self.register_buffer("variance", torch.ones(num, width))


def _normalised(norms: Sequence[_Norm], z: Float[Tensor, "e n h"]) -> Float[Tensor, "e n h"]:
    scale = torch.cat([norm.scale for norm in norms]).unsqueeze(1)
    shift = torch.cat([norm.shift for norm in norms]).unsqueeze(1)
    if norms[0].batch:
        mean, variance = _batch_statistics(norms, z)
        whitened = (z - mean) * (variance + _EPSILON).rsqrt()
    else:
        whitened = layer_norm(z, z.shape[-1:], eps=_EPSILON)
    return torch.addcmul(shift, whitened, scale).to(z.dtype)


def _batch_statistics(norms: Sequence[_Norm], z: Float[Tensor, "e n h"]) -> tuple[Tensor, Tensor]:
    if not norms[0].training:
        return torch.cat([norm.mean for norm in norms]).unsqueeze(1), torch.cat([norm.variance for norm in norms]).unsqueeze(1)
    wide = z.to(torch.promote_types(z.dtype, torch.float32))
    mean, variance = wide.mean(1, keepdim=True), wide.var(1, keepdim=True, correction=0)
    correction = z.shape[1] / max(z.shape[1] - 1, 1)
    num = len(norms[0].scale)
    now = [torch.split(part.squeeze(1) * _MOMENTUM, num) for part in (mean.detach(), variance.detach() * correction)]
    for norm, new_mean, new_variance in zip(norms, *now, strict=True):
        norm.mean.mul_(1 - _MOMENTUM).add_(new_mean.to(norm.mean.dtype))
        norm.variance.mul_(1 - _MOMENTUM).add_(new_variance.to(norm.variance.dtype))
    return mean, variance
