"""A tower for each task, stitched together after each layer."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import MLPs
from polytask.sharing._stitches import Stitch
from polytask.sharing._towers import layer_rows_last


@final
class CrossStitch(Sharing):
    """Cross-stitch network: a tower for each task; after each layer, each unit is a learned mixture over the towers.

    `x~_k = Σ_l α_kl x_l` for each unit after each layer; `x~` is what the next layer reads. α starts at `self_weight` for the
    own tower and `(1 - self_weight) / (k - 1)` for each other.

    Prefer it where towers for each task work and may help each other a little: at the start it almost is `SingleTask`, and how
    much is shared is learned layer by layer. Not for many tasks (k towers, k² weights a layer), nor where labels are few: then
    towers that share nothing but a mixture overfit as single tasks do.

    Cost: k MLPs and a product of k x k for each unit and row: 1.2 to 1.5 times the step of `SingleTask` (2 to 32 tasks, layers of
    128 and 64, one thread); with one weight for each pair of tasks 1.0 to 1.3 times.

    Source: Misra et al., CVPR 2016, equation 1; as the baseline of Ma et al., KDD 2018.

    Differs: more than two tasks. α learns at the rate of everything else, where the paper takes 100 to 1000 times the rate with
    plain SGD; it is not decayed. The paper starts from towers trained alone: pass them to `around`. Public code starts
    α at 1 everywhere, which multiplies activations by k a layer.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer of each task's tower.
        per_unit: A weight for each unit (channel) and pair of tasks; else one for each pair of tasks.
        self_weight: Where the weight of a task's own tower starts, in (0, 1].
        stitch_last: Whether the last layer is stitched too; else it is private to its task.
        own_encoders: An encoder for each task instead of one for all.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If a width, `self_weight`, `activation` or `dropout` is not valid, or nothing would be stitched.

    Example:
        >>> stitched = CrossStitch(5, ["click", "buy"], hidden=(16, 8))
        >>> stitched(torch.zeros(3, 5)).outputs.shape
        torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
        per_unit: bool = True,
        self_weight: float = 0.9,
        stitch_last: bool = True,
        own_encoders: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        stages = [
            {task: MLPs(1, width, (size,), activation=activation, dropout=dropout) for task in self.tasks}
            for width, size in pairwise([in_features, *hidden])
        ]
        units = hidden if per_unit else [1] * len(hidden)
        self.alike = True  # stages can be computed in one product; towers of the user may be of any kind
        self._stitch(stages, units[: None if stitch_last else -1], self_weight, own_encoders)
        self.out_features = hidden[-1]

    @classmethod
    def around(
        cls,
        towers: Mapping[str, Sequence[nn.Module]],
        example: Tensor,
        *,
        per_unit: bool = True,
        self_weight: float = 0.9,
        stitch_last: bool = True,
        own_encoders: bool = False,
    ) -> "CrossStitch":
        """Stitches towers of your own, trained or not, after each of their stages; outputs are `k n *h`.

        Args:
            towers: The stages of each task's tower, equally many for each; what stages give may have any shape `n c *s`, the
                same for all tasks. `BatchNorm` in a stage stays as it is: in training its rows then see each other.
            example: A batch as it will come, `n *d`, or `k n *d` with `own_encoders`; passed through in evaluation mode once,
                to learn the shapes.
            per_unit: A weight for each channel and pair of tasks; else one for each pair of tasks.
            self_weight: Where the weight of a task's own tower starts.
            stitch_last: Whether there is a stitch after the last stage.
            own_encoders: Whether each task has an input of its own.

        Raises:
            ConfigError: If towers differ in the number or in the shapes of their stages, share a parameter, or nothing would
                be stitched.

        Example:
            >>> def tower():
            ...     return [nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 6, 3)]
            >>> images = torch.zeros(2, 3, 8, 8)
            >>> CrossStitch.around({"depth": tower(), "edges": tower()}, images)(images).outputs.shape
            torch.Size([2, 2, 6, 4, 4])
        """
        _check_apart(towers)
        made = cls.__new__(cls)
        Sharing.__init__(made, example.shape[2 if own_encoders else 1], tuple(towers))
        if own_encoders and len(example) != len(towers):
            way_out = "Stack one input a task, as `k n *d`."
            raise ConfigError(message(f"Own encoders give {len(towers)} inputs.", received=tuple(example.shape), way_out=way_out))
        channels = _channels(towers, list(example) if own_encoders else [example] * len(towers))
        stages = [dict(zip(towers, stage, strict=True)) for stage in zip(*towers.values(), strict=True)]
        units = channels if per_unit else [1] * len(channels)
        made._stitch(stages, units[: None if stitch_last else -1], self_weight, own_encoders)
        made.alike, made.out_features = False, channels[-1]
        return made

    def _stitch(
        self, stages: Sequence[Mapping[str, nn.Module]], units: Sequence[int], self_weight: float, own_encoders: bool
    ) -> None:
        if not units:
            way_out = "Give `hidden` one more width, or stitch the last layer too."
            raise ConfigError(
                message("A cross-stitch needs a layer to stitch.", received=f"{len(stages)} layers", way_out=way_out)
            )
        self.num_inputs = len(self.tasks) if own_encoders else 1
        self.private_inputs = False
        self.stages = nn.ModuleList(PerTask(stage, private=i >= len(units)) for i, stage in enumerate(stages))
        last = len(units) - 1
        self.stitches = nn.ModuleList(
            Stitch(self.tasks, units=size, self_weight=self_weight, private=i == last) for i, size in enumerate(units)
        )

    def forward(self, x: Float[Tensor, "..."]) -> Shared:
        """Gives each task the output of its tower; `x` is `n *d`, or `k n *d` with own encoders."""
        return self._of_vectors(x) if self.alike else self._of_any(x)

    def _of_vectors(self, x: Float[Tensor, "*k n d"]) -> Shared:
        """All towers in one product, rows last: a stitch with a weight for each unit then copies nothing."""
        x = x.mT
        junction = x
        for place, stage in enumerate(cast("list[PerTask]", list(self.stages))):
            x = layer_rows_last(stage.values(), x)
            if place < len(self.stitches):
                junction = x.mT
                x = self.stitches[place](junction.mT)
        return Shared(x.mT, (junction,))

    def _of_any(self, x: Float[Tensor, "..."]) -> Shared:
        junction, inputs = x, x if self.num_inputs > 1 else x.expand(len(self.tasks), *x.shape)
        for place, stage in enumerate(cast("list[PerTask]", list(self.stages))):
            inputs = torch.stack([module(one) for module, one in zip(stage.values(), inputs, strict=True)])
            if place < len(self.stitches):
                junction, stitch = inputs, cast("Stitch", self.stitches[place])
                inputs = stitch(inputs) if stitch.units == 1 else stitch(inputs.transpose(1, 2)).transpose(1, 2).contiguous()
        return Shared(inputs, (junction,))


def _check_apart(towers: Mapping[str, Sequence[nn.Module]]) -> None:
    lengths = {task: len(stages) for task, stages in towers.items()}
    if len(set(lengths.values())) > 1:
        raise ConfigError(message("Towers that are stitched need equally many stages.", received=lengths))
    seen: dict[int, str] = {}
    for task, stages in towers.items():
        for parameter in nn.ModuleList(stages).parameters():
            if seen.setdefault(id(parameter), task) != task:
                received = f"one parameter in the towers of {seen[id(parameter)]!r} and {task!r}"
                way_out = "Build the stages once for each task, or give copies (`copy.deepcopy`)."
                raise ConfigError(message("Each task needs a tower of its own.", received=received, way_out=way_out))


@torch.no_grad()
def _channels(towers: Mapping[str, Sequence[nn.Module]], inputs: Sequence[Tensor]) -> list[int]:
    """Channels that each stage gives; all towers must agree on the whole shape."""
    modes = {module: module.training for stages in towers.values() for stage in stages for module in stage.modules()}
    shapes: dict[str, list[tuple[int, ...]]] = {task: [] for task in towers}
    for module in modes:
        module.training = False
    for (task, stages), given in zip(towers.items(), inputs, strict=True):
        x = given
        for stage in stages:
            x = stage(x)
            shapes[task].append(tuple(x.shape[1:]))
    for module, mode in modes.items():
        module.training = mode
    for place, alike in enumerate(zip(*shapes.values(), strict=True)):
        if len(set(alike)) > 1:
            expected = f"Stage {place} of every tower must give one shape, to be stitched."
            raise ConfigError(message(expected, received=dict(zip(shapes, alike, strict=True))))
    return [shape[0] for shape in next(iter(shapes.values()))]
