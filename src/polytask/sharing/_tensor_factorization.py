"""Tensor factorisation: the weights of all tasks are combinations of few shared matrices."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._factors import FORMS, Factors, Rank, Ranks
from polytask.sharing._mlps import ACTIVATIONS, MLPs, StackedLayer, activation_module, check_sizes, compute_stacked
from polytask.sharing._single_task import SingleTask


@final
class TensorFactorization(Sharing):
    """Deep multi-task representation learning: each layer's weights of all tasks, an o x i x k tensor, have low rank.

    `W_k = Σ_r s_kr B_r`, the row `s_k` a task's own, the matrices B shared and themselves factorised:

    - `laf` (last axis flattening, `W_(K) = L S`): free `B_r`.
    - `tucker`: `B_r = U1 G_r U2'`, that is `W = Σ G(a,b,r) U1(:,a) o U2(:,b) o S(:,r)`.
    - `tt` (tensor train): `B_r = U1 G_r`, `G_r` of a x i.

    Prefer it where many tasks are made of few common parts, or where trained single tasks are to be made one small model
    (`from_single_task`). Not for two or three tasks: at full task rank `laf` only writes their weights another way; nor where a
    row should decide by itself what it shares: that is a mixture.

    Cost: the matrices are put together once a step, then k MLPs: hardly more than `SingleTask`'s bottoms. Parameters grow with
    the ranks, not with k.

    Source: Yang and Hospedales, "Deep Multi-task Representation Learning: A Tensor Factorisation Approach", ICLR 2017; Tucker as
    a baseline of Ma et al., KDD 2018, section 3.3.

    Differs: heads stay outside, biases are each task's own. At random starts every layer has the size of an ordinary one,
    whatever the form and its ranks, and tasks start alike (rows point to one side); factors drawn one by one shrink or blow up
    their product, layer upon layer. The junction holds the shared matrices and the input: tasks part at weights, not rows.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer.
        kind: "tucker", "tt" or "laf".
        task_rank: Number r of shared matrices: a count, or a share (float) of as many as there can be, the number of tasks; one
            for all layers or one a layer. What is too many is as many as there can be.
        output_rank: Directions of a layer's outputs, likewise; read by "tucker" and "tt".
        input_rank: Directions of a layer's inputs, likewise; read by "tucker".
        own_encoders: Whether each task has an encoder of its own (`x` is then `k n d`).
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If a size, rank, `activation` or `dropout` is not valid, or `kind` is unknown.

    Example:
        >>> factorized = TensorFactorization(5, ["click", "buy", "like"], hidden=(16, 8), kind="tt", task_rank=2)
        >>> factorized(torch.zeros(3, 5)).outputs.shape
        torch.Size([3, 3, 8])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
        kind: str = "tucker",
        task_rank: Rank | Sequence[Rank] = 1.0,
        output_rank: Rank | Sequence[Rank] = 0.5,
        input_rank: Rank | Sequence[Rank] = 0.5,
        own_encoders: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        check_sizes(len(self.tasks), in_features, hidden, activation, dropout)
        form = _form(kind)
        self.own_encoders, self.num_inputs = own_encoders, len(self.tasks) if own_encoders else 1
        sizes = [(len(self.tasks), out, size) for size, out in pairwise([in_features, *hidden])]
        wanted = zip(*(_for_layers(rank, len(sizes)) for rank in (output_rank, input_rank, task_rank)), strict=True)
        self.ranks = tuple(Ranks(*ranks).within(form.full(size)) for ranks, size in zip(wanted, sizes, strict=True))
        self.factors = nn.ModuleList(form(size, ranks) for size, ranks in zip(sizes, self.ranks, strict=True))
        self.own = PerTask({task: _Own([int(ranks.task) for ranks in self.ranks], hidden) for task in self.tasks})
        self.activations = nn.ModuleList(activation_module(activation, dropout) for _ in hidden)
        self.out_features = tuple(hidden)[-1]

    @classmethod
    def from_single_task(
        cls, single: SingleTask, *, kind: str = "tucker", tolerance: float = 0.1, own_encoders: bool = True
    ) -> "TensorFactorization":
        """Starts from trained single tasks, at the ranks that their weights need.

        Each layer keeps its weights up to `tolerance` of their norm; biases are kept. `ranks` of what comes back are the options
        that build the same again. With `tolerance=0.0` nothing is lost.

        Args:
            single: The trained towers.
            kind: "tucker", "tt" or "laf".
            tolerance: Greatest relative error of a layer's weights, all tasks together.
            own_encoders: Whether each task keeps an encoder of its own, as `single` has.

        Raises:
            ConfigError: If `kind` is unknown or `tolerance` is not in [0, 1).

        Example:
            >>> single = SingleTask(5, ["click", "buy"], hidden=(8,))
            >>> TensorFactorization.from_single_task(single, kind="laf").ranks[0].task
            2
        """
        if not 0 <= tolerance < 1:
            raise ConfigError(message("A relative error is in [0, 1).", received=tolerance, way_out="0.1 is usual."))
        towers = [cast("MLPs", tower).steps() for tower in single.bottoms.values()]
        weights = [torch.cat([layer.weight for layer in layers]).detach() for layers in zip(*towers, strict=True)]
        parts = [_form(kind).decompose(weight.double(), tolerance) for weight in weights]
        output_rank, input_rank, task_rank = zip(*(part.factors.ranks for part in parts), strict=True)
        activation, dropout = _declared(towers[0][0].then)
        made = cls(
            single.in_features,
            single.tasks,
            hidden=[weight.shape[1] for weight in weights],
            kind=kind,
            task_rank=task_rank,
            output_rank=output_rank,
            input_rank=input_rank,
            own_encoders=own_encoders,
            activation=activation,
            dropout=dropout,
        ).to(weights[0])
        for factors, part in zip(made.factors, parts, strict=True):
            factors.load_state_dict(part.factors.state_dict())
        for place, (own, layers) in enumerate(zip(made.own.values(), towers, strict=True)):
            cast("_Own", own).fill([part.rows[place] for part in parts], layers)
        return made

    def forward(self, x: Float[Tensor, "*i n d"]) -> Shared:
        """Gives each task the output of the MLP whose weights it combines."""
        entry = x if self.own_encoders else x.view_as(x)
        matrices = [cast("Factors", factors).matrices() for factors in self.factors]
        own = cast("list[_Own]", list(self.own.values()))
        layers = [
            StackedLayer(
                torch.einsum("kr,roi->koi", torch.stack([task.rows[place] for task in own]), shared),
                torch.stack([task.biases[place] for task in own]),
                then,
            )
            for place, (shared, then) in enumerate(zip(matrices, self.activations, strict=True))
        ]
        return Shared(compute_stacked(entry, layers), (*matrices, *(() if self.own_encoders else (entry,))))


class _Own(nn.Module):
    """What is one task's: in each layer a row that combines the shared matrices, and a bias.

    Rows start near each other, on the positive side and at length 1: tasks begin much as one and depart where their losses ask.
    """

    def __init__(self, ranks: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.rows = nn.ParameterList(normalize(torch.rand(rank) + 0.5, dim=0) for rank in ranks)
        self.biases = nn.ParameterList(torch.zeros(width) for width in widths)

    @torch.no_grad()
    def fill(self, rows: Sequence[Tensor], layers: Sequence[StackedLayer]) -> None:
        for parameter, value in zip(self.rows, rows, strict=True):
            parameter.copy_(value)
        for parameter, layer in zip(self.biases, layers, strict=True):
            if layer.bias is not None:
                parameter.copy_(layer.bias[0])


def _form(kind: str) -> type[Factors]:
    if kind not in FORMS:
        raise ConfigError(message("Unknown kind of factorisation.", received=repr(kind), way_out=nearest(kind, FORMS)))
    return FORMS[kind]


def _for_layers(rank: Rank | Sequence[Rank], num_layers: int) -> list[Rank]:
    ranks = list(rank) if isinstance(rank, Sequence) else [rank] * num_layers
    if len(ranks) != num_layers:
        raise ConfigError(message(f"Ranks are one for all layers or one for each of {num_layers}.", received=ranks))
    return ranks


def _declared(then: nn.Module) -> tuple[str, float]:
    """Name of the activation and share of dropout that a module of `activation_module` was made from."""
    parts = list(then) if isinstance(then, nn.Sequential) else [then]
    name = next(name for name, kind in ACTIVATIONS.items() if type(parts[0]) is kind)
    return name, float(cast("nn.Dropout", parts[1]).p) if len(parts) > 1 else 0.0
