"""A tower a task, along a chain: each hands on what the next can use."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._chain import check_chain
from polytask.sharing._gates import gate_weights
from polytask.sharing._mlps import MLPs, side_by_side


@final
class AITM(Sharing):
    """Adaptive information transfer: along a chain of tasks, each weighs its own tower against what the one before hands on.

    `z_1 = q_1`, `z_t = Σ_{u in {q_t, p_t-1}} w_u h1(u)`, `w = softmax over the pair of <h2(u), h3(u)> / sqrt h`,
    `p_t-1 = g(z_t-1)`, `q_t = tower_t(x)`.

    Prefer it where tasks are steps of one way (shown, clicked, bought) and labels grow rare along it: the rare step learns what
    the frequent one knows, row by row as much as helps. Not for tasks without an order: what comes late in the chain then
    trains the towers of what comes early, and never the other way.

    Cost: k MLPs, and for each link 7 products of h x h; the links wait for each other, all else is batched.

    Source: Xi et al., KDD 2021, the AIT module; g has an activation and h1 to h3 have no bias, as in its authors' code.

    Differs: each link has maps of its own (the authors' code has a single link). The penalty on predictions that break the
    order of the steps is of predictions: `space = "division"` has it (`order_penalty`), and labels of whole ways as the authors
    have. Other public code takes `<h1(u), h3(u)>` for the score.

    `Shared.gates` are the pair of weights: what is the task's own, what was handed on. A tower or link that feeds a later task
    counts as shared.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        chain: Tasks from first to last; one that is left out has its tower alone. () is all tasks in the order given, and then
            that order decides what is learned.
        hidden: Width of each layer of a tower.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units of towers and of g dropped after each layer in training.

    Raises:
        ConfigError: If the chain names an unknown task or one twice, or a width, `activation` or `dropout` is not valid.

    Example:
        >>> aitm = AITM(5, ["buy", "click", "like"], chain=["click", "buy"], hidden=(16,))
        >>> aitm(torch.zeros(3, 5)).gates[:, 0].tolist()
        [[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]]
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        chain: Sequence[str] = (),
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        self.chain = check_chain(chain, self.tasks)

        def towers(names: Sequence[str]) -> dict[str, nn.Module]:
            return {name: MLPs(1, in_features, hidden, activation=activation, dropout=dropout) for name in names}

        def links(names: Sequence[str]) -> dict[str, nn.Module]:
            # Kept by both ends: the state of one chain does not fit another.
            return {name: PerTask({before[name]: _Link(hidden[-1], activation, dropout)}, private=False) for name in names}

        before = dict(zip(self.chain[1:], self.chain, strict=False))
        self.passing_towers = PerTask(towers(self.chain[:-1]), private=False)
        self.own_towers = PerTask(towers([name for name in self.tasks if name not in self.chain[:-1]]))
        self.passing_links = PerTask(links(self.chain[1:-1]), private=False)
        self.own_links = PerTask(links(self.chain[1:][-1:]))
        self.out_features = hidden[-1]

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task of the chain its mixture, each other its tower."""
        entry = x.view_as(x)  # its own place in the graph: what private towers send back
        streams = _computed(self.passing_towers, x) | _computed(self.own_towers, entry)
        links = _joined((*self.passing_links.values(), *self.own_links.values()))
        pairs: dict[str, Tensor] = {}
        if links:
            own = side_by_side([link.maps for link in links], torch.stack([streams[name] for name in self.chain[1:]]))
            for link, source, target, mapped in zip(links, self.chain, self.chain[1:], own, strict=False):
                streams[target], pairs[target] = link(streams[source], mapped.squeeze(0))
        # Tasks part where each leaves the chain. The last link is private: it reads the very place where the task before leaves.
        streams |= {name: streams[name].view_as(streams[name]) for name in self.chain[:-2]}
        junction = (entry, *(streams[name] for name in self.chain[:-1]))
        return Shared(torch.stack([streams[name] for name in self.tasks]), junction, self._gates(pairs, streams))

    def _gates(self, pairs: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> Float[Tensor, "k n 2"]:
        """The pair of each task; one that nothing is handed to is all its own."""
        some = next(iter(streams.values()))
        none = torch.zeros_like(some[:, :1], dtype=torch.promote_types(some.dtype, torch.float32))
        alone = torch.cat([none + 1, none], dim=1)
        return torch.stack([pairs.get(name, alone) for name in self.tasks])


def _computed(towers: PerTask, x: Tensor) -> dict[str, Tensor]:
    if not towers:
        return {}
    return {name: tower.squeeze(0) for name, tower in zip(towers.names, side_by_side(towers.values(), x), strict=True)}


def _joined(into: Iterable[nn.Module]) -> "list[_Link]":
    return [cast("_Link", next(iter(cast("PerTask", one).values()))) for one in into]


class _Link(nn.Module):
    """What is handed on, and the weighing of it."""

    def __init__(self, width: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.transfer = MLPs(1, width, (width,), activation=activation, dropout=dropout)
        self.maps = MLPs(1, width, (3 * width,), linear_last=True, last_bias=False)  # h1, h2, h3 in one product
        with torch.no_grad():
            self.maps.steps()[0].weight.mul_(math.sqrt(2))  # Glorot of three maps of h x h, not of one of h x 3h

    def forward(self, z: Float[Tensor, "n h"], own: Float[Tensor, "n _"]) -> tuple[Float[Tensor, "n h"], Float[Tensor, "n 2"]]:
        """The task's mixture and the pair of weights, from the task before and the maps of its own tower."""
        handed = self.maps(self.transfer(z).squeeze(0)).squeeze(0)
        value, key, query = torch.stack([own, handed], dim=1).chunk(3, dim=-1)
        scores = (key * query).sum(-1, dtype=torch.promote_types(key.dtype, torch.float32))
        pair = gate_weights(scores.unsqueeze(0) / math.sqrt(z.shape[-1])).squeeze(0)
        return torch.einsum("np,nph->nh", pair.to(value.dtype), value), pair
