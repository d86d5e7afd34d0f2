"""Small corrections of a layer, one for each task: what `Adapters` puts beside the layers of a backbone."""

import math
from collections.abc import Sequence
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, conv3d

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONVOLVE = {3: conv1d, 4: conv2d, 5: conv3d}


@final
class LowRank(nn.Module):
    """`B A` beside the weight of a linear or convolutional layer; 0 at the start.

    Args:
        weight: Weight of the layer, `o i *kernel`.
        rank: Rank r of the correction.
    """

    def __init__(self, weight: Float[Tensor, "o i *kernel"], rank: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(weight[0].numel())  # U(±sqrt(1 / fan in)): as the published code starts A
        self.down = nn.Parameter(weight.new_empty(rank, *weight.shape[1:]).uniform_(-bound, bound))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))

    def correction(self) -> Float[Tensor, "o i *kernel"]:
        """What it adds to the weight."""
        return torch.einsum("or,r...->o...", self.up, self.down)


@final
class Bottleneck(nn.Module):
    """`U relu(D y + a) + b` added to what a layer gives; 0 at the start.

    Args:
        width: Width of what the layer gives.
        rank: Width of the bottleneck.
        like: A tensor of the device and type to be on.
    """

    def __init__(self, width: int, rank: int, like: Tensor) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.down = nn.Parameter(like.new_empty(rank, width).uniform_(-bound, bound))
        self.down_bias = nn.Parameter(like.new_zeros(rank))
        self.up = nn.Parameter(like.new_zeros(width, rank))
        self.up_bias = nn.Parameter(like.new_zeros(width))


@final
class AdaptedLayer:
    """A forward hook: to what a layer gives for the rows of k tasks, one task after the other, it adds each task's correction.

    Args:
        adapters: One for each task, all `LowRank` or all `Bottleneck`.
        axis: Axis of what the layer reads and gives along which rows lie.
    """

    def __init__(self, adapters: Sequence[nn.Module], axis: int) -> None:
        self.adapters = list(adapters)
        self.axis = axis

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], given: dict[str, Any], output: Any) -> Any:
        """The layer's output with the corrections; of several things given (an attention and its weights), the first's."""
        first = output[0] if isinstance(output, tuple) else output
        read = (args[0] if args else next(iter(given.values()))) if self._reads_input() else first
        adapted = self._joined(self._apart(first) + self._corrections(layer, self._apart(read)))
        return (adapted, *output[1:]) if isinstance(output, tuple) else adapted

    def split(self, layer: nn.Module, x: Tensor) -> Tensor:
        """From rows that are the same for all tasks to those of each: what is common to them is computed once."""
        output: Tensor = layer.forward(x)
        read = x if self._reads_input() else output
        return self._joined(output.movedim(self.axis, 0) + self._corrections(layer, read.movedim(self.axis, 0), common=True))

    def _reads_input(self) -> bool:
        return isinstance(self.adapters[0], LowRank)

    def _apart(self, x: Tensor) -> Float[Tensor, "k n ..."]:
        # Contiguous: an attention's output lies transposed, and an export could not tell for which numbers of rows it splits.
        return torch.unflatten(x.movedim(self.axis, 0).contiguous(), 0, (len(self.adapters), -1))

    def _joined(self, x: Float[Tensor, "k n ..."]) -> Tensor:
        return x.flatten(0, 1).movedim(0, self.axis)

    def _stacked(self, name: str) -> Tensor:
        return torch.stack([getattr(adapter, name) for adapter in self.adapters])

    def _corrections(self, layer: nn.Module, x: Float[Tensor, "..."], *, common: bool = False) -> Float[Tensor, "k n ..."]:
        """From what is read, rows first; `k n ...`, or `n ...` where it is common to all tasks."""
        channels_in_front = isinstance(layer, CONVOLUTIONS)
        if self._reads_input():
            down, up = self._stacked("down"), self._stacked("up")
            if channels_in_front:
                return torch.einsum("nkr...,kor->kno...", _convolved(cast("Convolution", layer), x, down, common=common), up)
            return torch.einsum("k...r,kor->k...o", _times(x, down, common=common), up)
        x = x.movedim(1 if common else 2, -1) if channels_in_front else x
        inner = _times(x, self._stacked("down"), common=common)
        inner = (inner + _broad(self._stacked("down_bias"), inner)).relu()
        added = torch.einsum("k...r,kor->k...o", inner, self._stacked("up"))
        added = added + _broad(self._stacked("up_bias"), added)
        return added.movedim(-1, 2) if channels_in_front else added


def _times(x: Tensor, weight: Float[Tensor, "k r i"], *, common: bool) -> Float[Tensor, "k n ..."]:
    return torch.einsum("...i,kri->k...r" if common else "k...i,kri->k...r", x, weight)


def _broad(bias: Float[Tensor, "k r"], like: Tensor) -> Tensor:
    return bias.reshape(len(bias), *([1] * (like.dim() - 2)), -1)


def _convolved(layer: Convolution, x: Tensor, down: Tensor, *, common: bool) -> Float[Tensor, "n k r *s"]:
    """Every task's kernels on its own rows, or on the rows of all: one convolution, in groups or not."""
    num_tasks = len(down)
    x = x if common else x.transpose(0, 1).flatten(1, 2)
    groups = 1 if common else num_tasks
    convolve = _CONVOLVE[layer.weight.dim()]
    found: Tensor = convolve(x, down.flatten(0, 1), None, layer.stride, layer.padding, layer.dilation, groups)
    return torch.unflatten(found, 1, (num_tasks, -1))
