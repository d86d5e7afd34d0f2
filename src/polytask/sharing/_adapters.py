"""One trunk, and small corrections of its layers for each task."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import cast, final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._adapted_layers import AdaptedLayer, Bottleneck, LowRank
from polytask.sharing._backbones import Layer, adaptable_layers, flat_stages, matching
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import ACTIVATIONS, MLPs

KINDS = ("low_rank", "bottleneck")


@final
class Adapters(Sharing):
    """A trunk of all tasks whose layers each task corrects a little, by a low-rank change of weights or by a bottleneck.

    Low rank: `W_k = W + B_k A_k` for each layer. Bottleneck: `y + U_k relu(D_k y + a_k) + b_k` for what each layer gives. B, U
    and b start at 0: at the start every task has the trunk as it is.

    Prefer it where the trunk is already good (trained before; `around` makes any backbone multi-task, frozen) or tasks are many
    and close: a task costs some hundredths of the trunk's parameters, and with a frozen trunk no task can harm another. Not for
    tasks that need other features than the trunk has: what it threw away, a correction of it cannot bring back; there give
    each task experts of its own (`PLE`).

    Cost: the trunk on k times the rows from the first corrected layer on (what lies before is computed once), and for each
    corrected layer `2 r (i + o)` operations a row and task.

    Source: low rank: Hu et al., ICLR 2022 (LoRA), section 4.1; bottleneck: Houlsby et al., ICML 2019, section 2.1.

    Differs: no factor `alpha / r` on the low-rank change (Adam's rate does the same). One bottleneck after each layer instead
    of after each sublayer of a transformer; name layers with `where` for that. With a trainable trunk its weights are part
    of the junction: there is no activation where tasks part, every layer is on its own for each task.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer of the trunk.
        kind: "low_rank" or "bottleneck".
        rank: Rank of each low-rank change, width of each bottleneck.
        frozen: Whether the trunk stays as it is, for one whose weights are loaded.
        activation: Name in `ACTIVATIONS`, applied after each layer.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If `kind`, `rank`, a width, `activation` or `dropout` is not valid.

    Example:
        >>> adapters = Adapters(5, ["click", "buy"], hidden=(16, 8), rank=2)
        >>> adapters(torch.zeros(3, 5)).outputs.shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
        kind: str = "low_rank",
        rank: int = 8,
        frozen: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        trunk = _mlp(in_features, hidden, activation, dropout)
        self._wrap(trunk, torch.zeros(2, in_features), kind=kind, rank=rank, where=None, frozen=frozen)

    @classmethod
    def around(
        cls,
        backbone: nn.Module,
        tasks: Sequence[str],
        example: Tensor,
        *,
        kind: str = "low_rank",
        rank: int = 8,
        where: Sequence[str] | None = None,
        frozen: bool = True,
    ) -> "Adapters":
        """Makes a backbone of your own multi-task: any module that reads one tensor of rows and gives one. It is copied.

        Linear and convolutional layers can be corrected, and for bottlenecks attentions (`nn.MultiheadAttention`, whose weights
        are not layers of their own). Which are called, and along which axis rows lie in each, is learned from the example. Of an
        `nn.Sequential`, the stages before the first corrected layer run once for all tasks.

        Args:
            backbone: Reads `n *d`, gives `n *h`; each row on its own.
            tasks: Names of the k tasks.
            example: At least two different rows as they will come; passed through in evaluation mode three times.
            kind: "low_rank" or "bottleneck".
            rank: Rank of each low-rank change, width of each bottleneck.
            where: Names of layers as `backbone.named_modules()` tells them, with `*` and `?`: `["layers.*.linear2"]`; all that
                can be corrected where it is not given.
            frozen: Whether weights and running statistics of the backbone stay as they are.

        Returns:
            Outputs are `k n *h`; `out_features` is the width of their last axis, or for feature maps the channels.

        Raises:
            ConfigError: If `kind`, `rank` or `where` is not valid, or the backbone does not keep rows apart along an axis.

        Example:
            >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6))
            >>> images = torch.randn(2, 3, 8, 8)
            >>> adapters = Adapters.around(network, ["depth", "edges"], images, rank=2)
            >>> adapters(images).outputs.shape, bool((adapters(images).outputs == network(images)).all())
            (torch.Size([2, 2, 6]), True)
        """
        made = cls.__new__(cls)
        Sharing.__init__(made, example.shape[1], tasks)
        made._wrap(deepcopy(backbone), example, kind=kind, rank=rank, where=where, frozen=frozen)
        return made

    def _wrap(
        self, backbone: nn.Module, example: Tensor, *, kind: str, rank: int, where: Sequence[str] | None, frozen: bool
    ) -> None:
        _check(kind, rank)
        self.kind, self.frozen = kind, frozen
        found, self.out_features = adaptable_layers(backbone, example, bottleneck=kind == "bottleneck")
        layers = matching(found, where)
        self.backbone = backbone.requires_grad_(requires_grad=False) if frozen else backbone
        self.adapters = PerTask(
            {task: nn.ModuleDict({_key(one.path): _adapter(one, kind, rank) for one in layers}) for task in self.tasks}
        )
        of_tasks = [cast("nn.ModuleDict", of_task) for of_task in self.adapters.values()]
        for one in layers:
            hook = AdaptedLayer([of_task[_key(one.path)] for of_task in of_tasks], one.axis)
            one.layer.register_forward_hook(hook, with_kwargs=True)
        adapted = {id(one.layer) for one in layers}
        has_any = [any(id(module) in adapted for module in stage.modules()) for stage in flat_stages(backbone)]
        self._num_common = has_any.index(True)
        self.train(self.training)

    def forward(self, x: Shaped[Tensor, "n *d"]) -> Shared:
        """Gives each task what the backbone gives with its corrections."""
        stages = flat_stages(self.backbone)
        for stage in stages[: self._num_common]:
            x = stage(x)
        parted = x.view_as(x)
        first, *rest = stages[self._num_common :]
        x = self._parted(first, parted)
        for stage in rest:
            x = stage(x)
        # With weights that learn, no activation is a cut: each layer's weight is reached by each task's own activations.
        learn = [parameter for stage in (first, *rest) for parameter in stage.parameters() if parameter.requires_grad]
        junction = (*([parted] if parted.is_floating_point() else []), *dict.fromkeys(learn))
        return Shared(torch.unflatten(x, 0, (len(self.tasks), -1)), junction)

    def _parted(self, stage: nn.Module, x: Shaped[Tensor, "n *d"]) -> Tensor:
        """What the first stage with corrections gives for the rows of each task, one task after the other."""
        hook = _hook(stage)
        if hook is not None and not isinstance(stage, nn.MultiheadAttention):
            return hook.split(stage, x)
        of_each: Tensor = stage(torch.cat([x] * len(self.tasks)))
        return of_each

    def train(self, mode: bool = True) -> "Adapters":
        """As every module; but what a frozen backbone knows of its data (`BatchNorm`) stays as it is."""
        super().train(mode)
        for module in self.backbone.modules() if self.frozen else ():
            if getattr(module, "running_mean", None) is not None:
                module.train(False)
        return self

    def merged(self, task: str) -> nn.Module:
        """The backbone with a task's low-rank changes in its weights: to serve one task at the backbone's cost.

        Raises:
            ConfigError: If bottlenecks correct it: they are no change of weights.
        """
        if self.kind != "low_rank":
            raise ConfigError(message("Only low-rank changes are a change of weights.", received=f"kind={self.kind!r}"))
        backbone, changes = deepcopy(self.backbone), cast("nn.ModuleDict", self.adapters.of(task))
        for path, module in backbone.named_modules():
            if _hook(module) is not None:
                _unhook(module)
                with torch.no_grad():
                    cast("nn.Linear", module).weight += cast("LowRank", changes[_key(path)]).correction()
        return backbone


def _mlp(in_features: int, hidden: Sequence[int], activation: str, dropout: float) -> nn.Module:
    """A trunk that starts as `MLPs` do."""
    start = MLPs(1, in_features, hidden, activation=activation, dropout=dropout)  # checks the options, too
    layers: list[nn.Module] = []
    for (width, size), step in zip(pairwise([in_features, *hidden]), start.steps(), strict=True):
        linear = nn.Linear(width, size)
        linear.load_state_dict({"weight": step.weight.detach()[0], "bias": torch.zeros(size)})
        layers += [linear, ACTIVATIONS[activation](), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers)


def _adapter(layer: Layer, kind: str, rank: int) -> nn.Module:
    if kind == "low_rank":
        return LowRank(cast("nn.Linear", layer.layer).weight.detach(), rank)
    return Bottleneck(layer.width, rank, next(layer.layer.parameters()).detach())


def _key(path: str) -> str:
    """A layer's name where names may hold no dot."""
    return path.replace(".", "__") or "itself"


def _hook(module: nn.Module) -> AdaptedLayer | None:
    return next((hook for hook in module._forward_hooks.values() if isinstance(hook, AdaptedLayer)), None)


def _unhook(module: nn.Module) -> None:
    for key in [key for key, hook in module._forward_hooks.items() if isinstance(hook, AdaptedLayer)]:
        del module._forward_hooks[key], module._forward_hooks_with_kwargs[key]


def _check(kind: str, rank: int) -> None:
    if kind not in KINDS:
        raise ConfigError(message("Unknown kind of adapter.", received=repr(kind), way_out=nearest(kind, KINDS)))
    if rank < 1:
        raise ConfigError(message("The rank of an adapter is at least 1.", received=rank))
