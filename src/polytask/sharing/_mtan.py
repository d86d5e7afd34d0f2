"""One shared network; each task looks at it through masks of its own."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import ACTIVATIONS, MLPs
from polytask.sharing._task_norms import TaskNorm, normalised
from polytask.sharing._towers import layer, watched


@final
class MTAN(Sharing):
    """Multi-task attention network: a shared network, and for each task and layer a soft mask over its features.

    `h_t = f_t(h_t-1)`, `h_0 = x`; `z_k(t) = sigmoid(MLP_kt([h_t-1; z_k(t-1)])) * h_t`, where the first mask reads `x` alone:
    there is nothing before it. The task gets `z_k` of the last layer.

    Prefer it where tasks need the same features in different parts, and for many tasks: a task adds attention modules only, and
    results depend less on loss weights. Not where tasks pull against each other: masks choose among shared features, they make
    none.

    Cost: one MLP, and for each task and layer products of `2 · width · attention_hidden + attention_hidden · width`. Masks are
    bound by memory: 1.7 to 3 times the step of a `SharedBottom` with as many operations, with "layer" 2 to 5 times.

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equations 1 and 2, with layers for
    convolutions; feature maps: `ConvolutionalMTAN`.

    Differs: no shared layer between a task's masks: there is no resolution to match. Masks are not normalised before their
    activations, so that no row sees another; `norm="batch"` is the paper's, "layer" normalises the units of each row. The
    hidden layer of a mask is narrow; in the paper, where 1 x 1 convolutions are cheap beside 3 x 3, it is as wide as the layer.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer of the shared network.
        attention_hidden: Width of the hidden layer of each mask.
        norm: "none", "layer" or "batch", before the activation and before the sigmoid of each mask.
        activation: Name in `ACTIVATIONS`, of shared layers and masks.
        dropout: Share of shared units dropped after each layer in training.

    Raises:
        ConfigError: If a width, `norm`, `activation` or `dropout` is not valid.

    Example:
        >>> MTAN(5, ["click", "buy"], hidden=(16, 8))(torch.zeros(3, 5)).outputs.shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
        attention_hidden: int = 32,
        norm: str = "none",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        if not hidden:
            raise ConfigError(message("An MTAN needs a shared layer.", received=list(hidden), way_out="Such as [128]."))
        sizes = list(pairwise([in_features, *hidden]))
        self.layers = nn.ModuleList(MLPs(1, width, (size,), activation=activation, dropout=dropout) for width, size in sizes)
        self.masks = nn.ModuleList(
            PerTask(
                {
                    task: _Mask((width, attention_hidden, size), first=place == 0, norm=norm, activation=activation)
                    for task in self.tasks
                }
            )
            for place, (width, size) in enumerate(sizes)
        )
        self.out_features = hidden[-1]

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task the last layer behind its mask."""
        # Views: what the tasks' masks read of a layer, without what the next layer reads of it.
        seen, masked = [x.view_as(x)], None
        for shared, masks in zip(self.layers, cast("list[PerTask]", list(self.masks)), strict=True):
            x = shared(x).squeeze(0)
            seen.append(x.view_as(x))
            masked = _masks(masks.values(), seen[-2], masked) * seen[-1]
        return Shared(cast("Tensor", masked), tuple(seen))


class _Mask(nn.Module):
    """Where a task looks in one layer: two linear layers; the part that reads shared features apart from the task's own."""

    def __init__(self, widths: tuple[int, int, int], *, first: bool, norm: str, activation: str) -> None:
        super().__init__()
        width, inner, size = widths
        self.of_shared = MLPs(1, width, (inner,), linear_last=True)
        self.of_own = None if first else MLPs(1, width, (inner,), linear_last=True, last_bias=False)
        self.inner_norm = TaskNorm(inner, norm)
        self.then = ACTIVATIONS[activation]()
        self.out = MLPs(1, inner, (size,), linear_last=True)
        self.out_norm = TaskNorm(size, norm)


def _masks(masks: Iterable[nn.Module], shared: Tensor, own: Tensor | None) -> Float[Tensor, "k n h"]:
    """The masks of all tasks: shared features are read once, not once a task."""
    masks = cast("list[_Mask]", list(masks))
    inner = layer([mask.of_shared for mask in masks], shared)
    if own is not None:
        inner = inner + layer([cast("MLPs", mask.of_own) for mask in masks], own)
    inner = normalised([mask.inner_norm for mask in masks], inner)
    if watched(masks):
        inner = torch.stack([mask.then(one) for mask, one in zip(masks, inner, strict=True)])
    else:
        inner = masks[0].then(inner)
    logits = layer([mask.out for mask in masks], inner)
    return normalised([mask.out_norm for mask in masks], logits).sigmoid()
