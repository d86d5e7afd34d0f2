"""Towers in subspaces, mixed over tasks and subspaces, read at every depth."""

from collections.abc import Sequence
from itertools import combinations, pairwise
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
class Sluice(Sharing):
    """Sluice network: each layer of each task's tower in subspaces, stitched over tasks and subspaces; the output mixes depths.

    Layer t of task k gives `[x_k1; ...; x_kS]`; `x~_ki = Σ_lj α_(ki)(lj) x_lj` is what layer t + 1 reads, put together again;
    `z_k = Σ_t softmax(β_k)_t x~_k(t)`. The subspaces of a layer are kept apart by the penalty
    `strength · Σ_k,t Σ_i<j ||G_ki^T G_kj||_F^2`, where the columns of `G_ki` are the weights of a subspace's units.

    Prefer it where it is open at which depth, and in which part of a layer, tasks should share: it contains hard sharing of a
    layer, private parts and `CrossStitch` as special values. Not for a small tuning budget, or many tasks: (k S)² mixing weights
    a layer, and little in the data to choose them by.

    Cost: k MLPs and (k S)² products a unit and row for each stitch; 1.6 to 2 times the step of a `SharedBottom` with as many
    operations. The penalty adds k · width² · inputs products a step, whatever the number of rows.

    Source: Ruder, Bingel, Augenstein, Søgaard, "Latent Multi-task Architecture Learning", AAAI 2019 (arXiv 1705.08142, 2017,
    as "Sluice networks"), α, β and the orthogonality constraint.

    Differs: feed-forward layers for LSTMs. β passes through a softmax. α starts at `self_weight` on the diagonal and rows sum to
    1; public code starts it with equal rows or, with subspaces, rows of two kinds: singular, so what towers differ in is lost at
    the first stitch. Neither α nor β is decayed.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer of each task's tower: all alike, and a multiple of `num_subspaces`.
        num_subspaces: Subspaces S of each layer.
        self_weight: Where the weight of a subspace for itself starts, in (0, 1].
        last_weight: Where the share of the last layer in the output starts, in (0, 1).
        strength: Of the penalty on subspaces that are not orthogonal.
        own_encoders: An encoder for each task instead of one for all.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If a width, `num_subspaces`, a weight, `strength`, `activation` or `dropout` is not valid.

    Example:
        >>> sluice = Sluice(5, ["click", "buy"], hidden=(16, 16))
        >>> sluice(torch.zeros(3, 5)).outputs.shape
        torch.Size([2, 3, 16])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128, 128),
        num_subspaces: int = 2,
        self_weight: float = 0.9,
        last_weight: float = 0.9,
        strength: float = 0.01,
        own_encoders: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        _check(hidden, num_subspaces, last_weight, strength)
        self.num_inputs = len(self.tasks) if own_encoders else 1
        self.private_inputs = False
        self.num_subspaces, self.strength = num_subspaces, strength
        self.layers = nn.ModuleList(
            PerTask({task: MLPs(1, width, (size,), activation=activation, dropout=dropout) for task in self.tasks}, private=False)
            for width, size in pairwise([in_features, *hidden])
        )
        last = len(hidden) - 1
        self.stitches = nn.ModuleList(
            Stitch(self.tasks, num_subspaces=num_subspaces, self_weight=self_weight, private=place == last)
            for place in range(len(hidden))
        )
        self.depths = PerTask({task: _Depths(len(hidden), last_weight) for task in self.tasks}) if last else None
        self.out_features = hidden[-1]

    def forward(self, x: Float[Tensor, "*i n d"]) -> Shared:
        """Gives each task its mixture of the stitched layers of its tower."""
        x = x.mT  # rows last: subspaces are then streams of their own without a copy
        shares = self.shares()
        junction: tuple[Tensor, ...] = ()
        for place, (layer, stitch) in enumerate(zip(cast("list[PerTask]", list(self.layers)), self.stitches, strict=True)):
            towers = layer_rows_last(layer.values(), x).mT
            last = place == len(self.layers) - 1
            # Nothing but the output reads the last layer: its share is folded into α.
            x = self._stitched(stitch, towers.mT, shares[:, -1] if last else None)
            # Views (`mT`): what β reads of a lower layer, without what the next layer reads of it.
            junction = (*junction, towers if last else x.mT)
        z = x
        for place, lower in enumerate(junction[:-1]):
            z = _plus(z, shares[:, place], lower.mT)
        penalty = self._penalty() if self.training and self.strength and self.num_subspaces > 1 else None
        return Shared(z.mT, junction, penalty=penalty)

    def shares(self) -> Float[Tensor, "k t"]:
        """Share of each layer in each task's output, `softmax(β)`, in the order of the tasks."""
        if self.depths is None:
            return torch.ones(len(self.tasks), 1)
        logits = torch.stack([depths.beta for depths in cast("list[_Depths]", list(self.depths.values()))])
        return logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))

    def _stitched(self, stitch: nn.Module, x: Float[Tensor, "k h n"], share: Tensor | None) -> Float[Tensor, "k h n"]:
        streams = x.reshape(len(self.tasks) * self.num_subspaces, -1, x.shape[-1])
        mixed: Tensor = stitch(streams, None if share is None else share.repeat_interleave(self.num_subspaces))
        return mixed.view(x.shape)

    def _penalty(self) -> Float[Tensor, ""]:
        """How far the subspaces of each layer are from orthogonal, in the type of the weights also under autocast."""
        total: Tensor = next(self.parameters()).new_zeros(())
        with torch.autocast(total.device.type, enabled=False):
            for layer in cast("list[PerTask]", list(self.layers)):
                weights = torch.cat([cast("MLPs", tower).steps()[0].weight for tower in layer.values()])
                parts = weights.chunk(self.num_subspaces, dim=1)
                for one, other in combinations(parts, 2):
                    total = total + torch.bmm(one, other.mT).square().sum()
        return self.strength * total


def _plus(z: Float[Tensor, "k h n"], share: Float[Tensor, " k"], layer: Float[Tensor, "k h n"]) -> Float[Tensor, "k h n"]:
    """`z_k + share_k layer_k` as a product, whose gradients are products too: nothing of the layer's size is kept beside it."""
    flat = layer.flatten(1).unsqueeze(1)
    return torch.baddbmm(z.flatten(1).unsqueeze(1), share.to(layer.dtype).view(-1, 1, 1), flat).view(z.shape)


class _Depths(nn.Module):
    """Which layers a task's output is made of; one dimension, so that weight decay does not pull it towards all alike."""

    def __init__(self, num_layers: int, last_weight: float) -> None:
        super().__init__()
        shares = torch.full((num_layers,), (1 - last_weight) / (num_layers - 1))
        shares[-1] = last_weight
        self.beta = nn.Parameter(shares.log())


def _check(hidden: Sequence[int], num_subspaces: int, last_weight: float, strength: float) -> None:
    if not hidden or len(set(hidden)) > 1:
        way_out = "Such as [128, 128]: what β mixes must have one width."
        raise ConfigError(message("A sluice needs layers of one width.", received=list(hidden), way_out=way_out))
    if num_subspaces < 1 or hidden[0] % num_subspaces:
        received = f"{num_subspaces} subspaces of a layer of {hidden[0]}"
        raise ConfigError(message("Subspaces divide a layer into equal parts.", received=received))
    if not 0 < last_weight < 1:
        raise ConfigError(message("The last layer starts with a share in (0, 1).", received=last_weight))
    if strength < 0:
        raise ConfigError(message("The strength of a penalty is not negative.", received=strength, way_out="0 turns it off."))
