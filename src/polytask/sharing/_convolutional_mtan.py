"""A shared network of feature maps given by the user; each task looks at it through masks of its own."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, interpolate

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._base import PerTask, Shared, Sharing

_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "layer": lambda width: nn.GroupNorm(1, width),
    "none": lambda _: nn.Identity(),
}


@final
class ConvolutionalMTAN(Sharing):
    """Multi-task attention network over the feature maps of a convolutional network of yours.

    In stage j, with `u_j` after its first half and `p_j` after its second, task k has
    `m_kj = sigmoid(norm(w_2 * relu(norm(w_1 * [u_j; c_kj]))))` (1 x 1 convolutions of its own) and `a_kj = m_kj p_j`. It hands
    on `c_k,j+1 = pool(relu(norm(w_3 * a_kj)))` (a 3 x 3 convolution of all tasks, brought to the size of `u_j+1`). The first
    stage has no `c`. The task gets `a_k` of the last stage.

    Prefer it for dense prediction from images (segmentation, depth, normals) on one backbone, and for many tasks. Not where
    tasks pull against each other: masks choose among shared features, they make none. For vectors: `MTAN`.

    Cost: the backbone once; for each task and stage two 1 x 1 convolutions and one 3 x 3, task after task.

    Source: Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equations 1 and 2.

    Differs: pooling is adaptive, so that any backbone fits: by 2 it is the paper's; a larger map is reached by interpolation.
    With `norm="batch"`, the paper's, rows see each other in training. Built from your stages, so it is in no registry.

    Args:
        tasks: Names of the k tasks.
        stages: The shared network: for each stage its two halves, `n c h w` to `n c' h' w'`; the second keeps height and width.
        example: A batch as it will come; passed through in evaluation mode once, to learn the shapes.
        norm: "batch", "layer" (all of a row) or "none", after each convolution of a mask and between stages.
        reduction: How many times narrower than `p_j` the map within a mask is.

    Raises:
        ConfigError: If a stage has no two halves, a second half changes height or width, or an option is not valid.

    Example:
        >>> first = (nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
        >>> second = (nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 1)), nn.Conv2d(6, 8, 1))
        >>> images = torch.zeros(2, 3, 8, 8)
        >>> ConvolutionalMTAN(["depth", "edges"], [first, second], images)(images).outputs.shape
        torch.Size([2, 2, 8, 4, 4])
    """

    def __init__(
        self,
        tasks: Sequence[str],
        stages: Sequence[Sequence[nn.Module]],
        example: Float[Tensor, "n c h w"],
        *,
        norm: str = "batch",
        reduction: int = 1,
    ) -> None:
        super().__init__(example.shape[1], tasks)
        _check(stages, norm, reduction)
        self.first, self.second = (nn.ModuleList(half) for half in zip(*stages, strict=True))
        channels = self._channels(example)
        self.masks = nn.ModuleList(
            PerTask({task: _mask(u * (2 if place else 1), p // reduction or 1, p, norm) for task in self.tasks})
            for place, (u, p) in enumerate(channels)
        )
        self.between = nn.ModuleList(
            nn.Sequential(nn.Conv2d(p, u, 3, padding=1), _NORMS[norm](u), nn.ReLU()) for (_, p), (u, _) in pairwise(channels)
        )
        self.out_features = channels[-1][1]

    def forward(self, x: Float[Tensor, "n c h w"]) -> Shared:
        """Gives each task the last feature map behind its mask."""
        p, masked = x, x
        cut: tuple[Tensor, ...] = ()
        for place, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            u = first(p)
            p = second(u)
            # Views: what the tasks' masks read of a stage, without what the next stage reads of it. What masks of lower stages
            # send back passes through what they hand to the last one, since all tasks share the layers between.
            cut = (u.view_as(u), p.view_as(p))
            if place:
                cut = (*cut, torch.stack([_resized(self.between[place - 1](one), u.shape[-2:]) for one in masked]))
            masked = self._masked(place, *cut)
        return Shared(masked, cut)

    def _masked(self, place: int, u: Tensor, p: Tensor, carried: Tensor | None = None) -> Float[Tensor, "k n c h w"]:
        masks = cast("PerTask", self.masks[place]).values()
        inputs = [u] * len(self.tasks) if carried is None else [torch.cat([u, own], dim=1) for own in carried]
        return torch.stack([mask(read) * p for mask, read in zip(masks, inputs, strict=True)])

    @torch.no_grad()
    def _channels(self, example: Tensor) -> list[tuple[int, int]]:
        """Channels after the halves of each stage; every module keeps its mode."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        found, p = [], example
        for place, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            u = first(p)
            p = second(u)
            if u.dim() != 4 or u.shape[-2:] != p.shape[-2:]:
                expected = f"The second half of stage {place} must keep the height and width of a feature map `n c h w`."
                raise ConfigError(message(expected, received=f"{tuple(u.shape)} -> {tuple(p.shape)}"))
            found.append((u.shape[1], p.shape[1]))
        for module, mode in modes.items():
            module.training = mode
        return found


def _mask(width: int, inner: int, size: int, norm: str) -> nn.Module:
    """Where a task looks in one stage."""
    first = [nn.Conv2d(width, inner, 1), _NORMS[norm](inner), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(inner, size, 1), _NORMS[norm](size), nn.Sigmoid())


def _resized(x: Float[Tensor, "n c _ _"], size: Sequence[int]) -> Float[Tensor, "n c _ _"]:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if x.shape[-2] < size[0] or x.shape[-1] < size[1]:
        return interpolate(x, size=tuple(size), mode="bilinear")
    return adaptive_max_pool2d(x, tuple(size))


def _check(stages: Sequence[Sequence[nn.Module]], norm: str, reduction: int) -> None:
    halves = [len(stage) for stage in stages]
    if not halves or set(halves) != {2}:
        way_out = "Split each stage where its mask should read; nn.Identity() may be a half."
        raise ConfigError(message("Each stage needs two halves.", received=f"stages of {halves} modules", way_out=way_out))
    if norm not in _NORMS:
        raise ConfigError(message("Unknown norm.", received=repr(norm), way_out=nearest(norm, _NORMS)))
    if reduction < 1:
        raise ConfigError(
            message("Maps within a mask are as wide as the stage's or narrower.", received=f"reduction={reduction}")
        )
