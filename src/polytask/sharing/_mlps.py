"""Identical MLPs side by side (experts, gates, towers), and the one decision of how they are computed."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._dense import dense, ordinary

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU, "gelu": nn.GELU}

_CACHED_NUMBERS = 2**19
"""Activations of the first layers together from which a CPU computes MLPs one at a time: 2 MB, about the second-level cache of a
core. Measured by `benchmarks/speed/expert_layouts.py`."""

_SCATTERED_NUMBERS = 2**21
"""Activations of experts of one's own from which each is a product: an expert's part of a row lies far from that of the next. CGC
with 8 tasks and 4096 rows takes 5 % less, with 512 rows as much more."""


def one_at_a_time(x: Float[Tensor, "*e n d"], total_width: int) -> bool:
    """Whether MLPs go one by one, or all in one batched product.

    Where all read the same input, the first layer is always one product: the input is read (and cast) once, and its gradient is
    one product too; the question is the later layers. Milliseconds of one thread, forward and backward, float32-class (AVX-512,
    oneDNN), and with bfloat16 products:

    | rows, MLPs | one by one | batched | bf16, one by one | bf16, batched |
    |---|---|---|---|---|
    | 32, 8 of 256-128 | 6.4 | 5.5 | 5.0 | 4.0 |
    | 128, 6 of 128-64 | 3.7 | 3.1 | 2.4 | 1.8 |
    | 1024, 4 of 64-32 | 7.1 | 7.0 | 4.8 | 4.1 |
    | 1024, 8 of 256-128 | 102 | 109 | 56 | 62 |
    | 4096, 6 of 128-64 | 79 | 86 | 45 | 46 |
    | 4096, 8 of 256-128 | 409 | 467 | 218 | 274 |

    While all activations fit a core's cache the fewer, larger products win; beyond it, one MLP at a time stays in the cache.
    Where each MLP has an input of its own, batched is as fast or faster at every size (12 of 64: 1.1 against 2.2 for 128 rows, 35
    against 39 for 4096). A GPU wants few, large launches (not measured). An exported graph has no number of rows to decide by
    and is batched.

    Args:
        x: Input of the MLPs.
        total_width: Width of their first layers together.
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting():
        return False
    return x.shape[-2] * total_width >= _CACHED_NUMBERS


@final
class MLPs(nn.Module):
    """`e` MLPs of one shape, weights stacked: experts of a mixture; with `e = 1` a gate, a trunk or a tower.

    Weights start as Glorot uniform, `U(±sqrt(6 / (in + out)))` for each MLP on its own, biases at 0.

    Args:
        num: Number e of MLPs.
        in_features: Width d of the input.
        widths: Width of each layer.
        activation: Name in `ACTIVATIONS`, applied after each layer.
        dropout: Share of units dropped after each activation in training.
        linear_last: Leaves the last layer without activation and dropout.
        last_bias: Whether the last layer adds a bias.

    Raises:
        ConfigError: If a width is not positive, `dropout` is outside [0, 1) or the activation is unknown.

    Example:
        >>> experts = MLPs(8, 5, (16, 4))
        >>> experts(torch.zeros(3, 5)).shape
        torch.Size([8, 3, 4])
    """

    def __init__(
        self,
        num: int,
        in_features: int,
        widths: Sequence[int],
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        linear_last: bool = False,
        last_bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(num, in_features, widths, activation, dropout)
        self.num = num
        self.out_features = widths[-1]
        self.gives_experts = not linear_last  # monitors look at what comes out; a gate ends linearly
        last = len(widths) - 1
        self.layers = nn.ModuleList(
            _Layer(
                torch.empty(num, size, width),
                bool(last_bias or i < last),
                nn.Identity() if linear_last and i == last else activation_module(activation, dropout),
            )
            for i, (width, size) in enumerate(pairwise([in_features, *widths]))
        )

    def forward(self, x: Float[Tensor, "*e n d"]) -> Float[Tensor, "e n h"]:
        """Output of each MLP on the input of all (`n d`), or on an input of its own (`e n d`)."""
        return compute_stacked(x, self.steps())

    @torch.no_grad()
    def set_last_bias(self, values: Sequence[float]) -> None:
        """Starts the last layer of every MLP at a known bias."""
        bias = self.steps()[-1].bias
        if bias is None:
            raise ConfigError(message("The last layer has no bias to set.", received=list(values)))
        bias.copy_(torch.tensor(values, dtype=bias.dtype))

    def steps(self) -> list["StackedLayer"]:
        """Stacked weight, bias and activation of each layer."""
        return [layer.step() for layer in cast("list[_Layer]", list(self.layers))]


def side_by_side(groups: Iterable[nn.Module], x: Float[Tensor, "*g n d"], *, apart: bool = False) -> list[Float[Tensor, "_ n h"]]:
    """Output of each of g equal `MLPs`: joined in one product where that pays, otherwise one after the other.

    Args:
        groups: `MLPs` of one shape; each keeps parameters of its own.
        x: Input of all groups (`n d`), or one a group (`g n d`).
        apart: Whether each group sends its gradient to its own part of `x` also where all parts are one tensor.
    """
    outputs = _computed(cast("list[MLPs]", list(groups)), x, apart=apart)
    return outputs if isinstance(outputs, list) else list(outputs.unbind(0))


def together(groups: Iterable[nn.Module], x: Float[Tensor, "*g n d"], *, apart: bool = False) -> Float[Tensor, "e n h"]:
    """`side_by_side`, all outputs in one tensor: without a copy where they were one product."""
    outputs = _computed(cast("list[MLPs]", list(groups)), x, apart=apart)
    return torch.cat(outputs) if isinstance(outputs, list) else outputs.flatten(0, 1)


def by_group(groups: Iterable[nn.Module], x: Float[Tensor, "*g n d"]) -> Float[Tensor, "g e n h"]:
    """`together`, the MLPs of a group on an axis of their own; many rows of one MLP lie together, as mixtures read them."""
    outputs = _computed(cast("list[MLPs]", list(groups)), x, rows_together=True)
    return torch.stack(outputs) if isinstance(outputs, list) else outputs


def for_all(z: Float[Tensor, "n h"], num: int) -> Float[Tensor, "k n h"]:
    """`z` for each of k readers: an expand, which knows what it repeats.

    Readers that compute on all places at once then read `z` itself: the gradient of a place taken from an expand is filled up
    with zeros to the size of all, and summed again.
    """
    repeated = z.expand(num, *z.shape)
    if not torch.compiler.is_compiling():
        repeated.repeats = z  # type: ignore[attr-defined]
    return repeated


def _computed(groups: Sequence[MLPs], x: Tensor, *, apart: bool = False, rows_together: bool = False) -> Tensor | list[Tensor]:
    """Outputs `g e n h` where they were one product, or those of each group."""
    if x.dim() == 3 and x.stride(0) == 0:  # an expand: one input for all
        if apart and len(groups) > 1:
            return [group(one) for group, one in zip(groups, x.unbind(0), strict=True)]
        x = getattr(x, "repeats", x[:1].squeeze(0))
    columns = list(zip(*(group.steps() for group in groups), strict=True))
    total_width = sum(step.weight.shape[0] * step.weight.shape[1] for step in columns[0])
    loops = len(columns) > 1 and one_at_a_time(x, total_width)
    if len(groups) == 1 or loops or _watched(groups, columns):
        inputs = [x] * len(groups) if x.dim() == 2 else list(x.unbind(0))
        return [group(one) for group, one in zip(groups, inputs, strict=True)]
    layers, num = [_join(column) for column in columns], groups[0].num
    by_mlp = rows_together and ordinary(x) and x.shape[-2] * total_width >= _SCATTERED_NUMBERS
    if x.dim() == 2 and not by_mlp:
        outputs = compute_stacked(x, layers)
        return outputs.view(-1, num, *outputs.shape[1:])
    outputs = _batched(_first_layer(x if x.dim() == 3 else x.unsqueeze(0), layers[0]).flatten(0, 1), layers[1:])
    return outputs.view(-1, num, *outputs.shape[1:])


def _watched(groups: Iterable[nn.Module], columns: Iterable[Sequence["StackedLayer"]]) -> bool:
    """Whether a hook looks at a group or an activation: it must see its own group alone."""
    if torch.is_grad_enabled():  # not a cost of training
        return False
    thens = [step.then for column in columns for step in column]
    parts = [part for then in thens for part in then._modules.values() if part is not None]  # not `modules()`: it would be slow
    return any(module._forward_hooks for module in (*groups, *thens, *parts))


class StackedLayer(NamedTuple):
    """One layer of e MLPs: weights, biases, and what follows them."""

    weight: Float[Tensor, "e o i"]
    bias: Float[Tensor, "e o"] | None
    then: nn.Module


def _join(column: Sequence[StackedLayer]) -> StackedLayer:
    biases = [step.bias for step in column if step.bias is not None]
    return StackedLayer(torch.cat([step.weight for step in column]), torch.cat(biases) if biases else None, column[0].then)


def compute_stacked(x: Float[Tensor, "*e n d"], layers: Sequence[StackedLayer]) -> Float[Tensor, "e n h"]:
    """Output of each of e MLPs on the input of all (`n d`), or on an input of its own (`e n d`)."""
    (weight, bias, then), rest = layers[0], layers[1:]
    num, width = weight.shape[:2]
    if x.dim() == 3:
        return _batched(x, layers)
    flat = then(linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten()))
    if rest and one_at_a_time(x, num * width):
        return _apart(flat.split(width, 1), rest)  # not unbind: the backward of split writes the gradient of `flat` as it lies
    return _batched(flat.view(-1, num, width).transpose(0, 1), rest)


def _batched(x: Float[Tensor, "e n d"], layers: Sequence[StackedLayer]) -> Float[Tensor, "e n h"]:
    for layer in layers:
        x = _first_layer(x, layer).squeeze(1)
    return x


def _first_layer(x: Float[Tensor, "g n d"], layer: StackedLayer) -> Float[Tensor, "g t n o"]:
    """Each of g inputs is read by as many MLPs, t."""
    weight, bias, then = layer
    weight = weight.view(len(x), -1, *weight.shape[1:])
    rectified = type(then) is nn.ReLU and not then._forward_hooks
    y = dense(x, weight, None if bias is None else bias.view(len(x), -1, bias.shape[1]), rectified=rectified)
    return y if rectified else then(y)


def _apart(inputs: Sequence[Tensor], layers: Sequence[StackedLayer]) -> Tensor:
    for weight, bias, then in layers:
        biases = [None] * len(weight) if bias is None else list(bias.unbind(0))
        inputs = [then(linear(x, w, b)) for x, w, b in zip(inputs, weight.unbind(0), biases, strict=True)]
    return torch.stack(list(inputs), dim=1).transpose(0, 1)  # a row's experts beside each other, as mixing reads them


class _Layer(nn.Module):
    def __init__(self, weight: Float[Tensor, "e o i"], with_bias: bool, then: nn.Module) -> None:
        super().__init__()
        num, size, width = weight.shape
        bound = math.sqrt(6 / (width + size))
        self.weight = nn.Parameter(nn.init.uniform_(weight, -bound, bound))
        self.bias = nn.Parameter(torch.zeros(num, size)) if with_bias else None
        self.then = then

    def step(self) -> StackedLayer:
        return StackedLayer(self.weight, self.bias, self.then)


def activation_module(name: str, dropout: float) -> nn.Module:
    """What follows a layer, by name in `ACTIVATIONS`."""
    # In place: the product before it needs no output for its gradient, and 4096 rows of 8 experts of 256 are 32 MB.
    activation = nn.ReLU(inplace=True) if name == "relu" else ACTIVATIONS[name]()
    return nn.Sequential(activation, nn.Dropout(dropout)) if dropout else activation


def check_sizes(num: int, in_features: int, widths: Sequence[int], activation: str, dropout: float) -> None:
    """Raises a `ConfigError` where stacked MLPs cannot have these sizes."""
    if not widths or min(num, in_features, *widths) < 1:
        received = f"{num} MLPs of {in_features} -> {list(widths)}"
        raise ConfigError(
            message("MLPs need positive widths.", received=received, way_out="Give at least one width, such as [64].")
        )
    if activation not in ACTIVATIONS:
        raise ConfigError(message("Unknown activation.", received=repr(activation), way_out=nearest(activation, ACTIVATIONS)))
    if not 0 <= dropout < 1:
        raise ConfigError(message("Dropout is a share in [0, 1).", received=dropout))
