"""Task gradients at the place where tasks part, and the one backward pass that goes on from there."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from polytask.balancers._graph import Node, above, edge_of, feeds, input_of, parting
from polytask.errors import PolytaskError, message
from polytask.sharing import Shared

Gradients = list[Tensor | None]

_KEPT_NUMBERS = 2**22
"""Numbers of all tasks' gradients at a junction up to which they are kept: 16 MB. Of an MLP of 256-512-512-256 and 1024 rows
those of 8 tasks take 8 MB, of 32 tasks 34 MB, three times what else a step holds (`benchmarks/speed/balancing_cost.py`)."""


class Cut(ABC):
    """Gradients of m tasks at the places of a junction: a complete cut between what is shared and what is not.

    Nothing is written to `.grad` before `send`: all of a step reaches parameters in one backward pass, so hooks of parameters
    (those of data parallelism among them) run once.

    Args:
        losses: Loss of each of the m tasks.
        edges: The places, in the graph.
    """

    def __init__(self, losses: Mapping[str, Tensor], edges: Sequence[GradientEdge]) -> None:
        self.names, self.edges = tuple(losses), list(edges)
        self.losses: Float[Tensor, " m"] = torch.stack([loss.detach() for loss in losses.values()])
        self._below = set(above(self.edges).leaves)
        self.private: dict[Tensor, Tensor] = {}
        """Parameters above the junction, and their own gradient: no balancer weighs it."""

    @abstractmethod
    def of_task(self, number: int) -> Gradients:
        """Gradient of one task at each place; None where it does not arrive."""

    @property
    def compared_edges(self) -> list[GradientEdge]:
        """The places at which measures of layers compare: all, or those of experts that all tasks mix.

        What else a mixture sends on (through gates, through a task's own experts) is thin or its own, and for each task alone
        dear; no gradient that is applied leaves it out.
        """
        return self.edges

    def compared(self, number: int) -> Gradients:
        """Gradient of one task at each of these."""
        return self.of_task(number)

    @abstractmethod
    def weighted(self, weights: Float[Tensor, " m"]) -> Gradients:
        """Weighted sum of the tasks' gradients at each place."""

    @abstractmethod
    def gramian(self) -> Float[Tensor, "m m"]:
        """Inner products of the tasks' gradients at the junction, over all rows and places."""

    @abstractmethod
    def keep(self, finite: Bool[Tensor, " m"]) -> None:
        """Makes the gradients of the other tasks zero, whatever they hold."""

    def rows(self) -> Gradients:
        """Gradients of all tasks at each place, a row a task: `m *place`."""
        each = [self.of_task(number) for number in range(len(self.names))]
        return [_filled(place) for place in zip(*each, strict=True)]

    def shared(self) -> list[Tensor]:
        """Parameters below the junction."""
        return above(self.edges).leaves

    def send(self, gradients: Gradients, penalty: Tensor | None) -> None:
        """Goes on from the junction: adds to `.grad` of all that lies below, and of what is private its own."""
        self.write([(input_of(e), g) for e, g in zip(self.edges, gradients, strict=True) if g is not None], penalty)

    def write(self, roots: Sequence[tuple[Tensor | GradientEdge, Tensor]], penalty: Tensor | None) -> None:
        """Adds gradients, given at some places or parameters, to `.grad`, and what is private its own."""
        found: list[tuple[Tensor | GradientEdge, Tensor | None]] = [*roots, *self.private.items()]
        found += [] if penalty is None else [(penalty, None)]
        if found:
            torch.autograd.backward(*zip(*found, strict=True))  # type: ignore[arg-type]

    def _own(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None], sent: Gradients) -> None:
        """Adds to what is private; of a parameter used on both sides of the cut, what goes on from the cut is no part of it.

        Args:
            parameters: Found above the junction.
            gradients: Of some losses, with respect to them.
            sent: Of the same losses, at the places.
        """
        found = {p: g for p, g in zip(parameters, gradients, strict=True) if g is not None}
        twice = [parameter for parameter in found if parameter in self._below]
        if twice and sent:
            roots = [(edge, gradient) for edge, gradient in zip(self.edges, sent, strict=True) if gradient is not None]
            places, arrived = zip(*roots, strict=True)
            below = torch.autograd.grad(places, twice, arrived, retain_graph=True, allow_unused=True)
            found |= {p: found[p] - g for p, g in zip(twice, below, strict=True) if g is not None}
        for parameter, own in found.items():
            self.private[parameter] = self.private[parameter] + own if parameter in self.private else own


@final
class CutByLosses(Cut):
    """A pass through each task's part of the graph, one task after the other; the parts may be of any form.

    Few gradients are kept from their first pass on. Many are not: what takes them must take one at a time, and to weigh them is
    to pass a second time, which costs about as much as to write and to read them, in a part of the memory.

    Args:
        losses: Loss of each of the m tasks.
        edges: The places; parameters themselves where each task has rows of its own.
        entries: For each task, where its gradient at each place is read; the places themselves where not given.
    """

    def __init__(
        self, losses: Mapping[str, Tensor], edges: Sequence[GradientEdge], entries: Sequence[Sequence[GradientEdge]] = ()
    ) -> None:
        super().__init__(losses, edges)
        self._losses = list(losses.values())
        self._entries = entries or [self.edges] * len(self._losses)
        self._stop = [*self.edges, *(edge for task in entries for edge in task)]
        self._passed: set[int] = set()  # what is their own was found
        self._held: set[int] = set()  # of those in:
        self._kept: list[Tensor | None] | None = None
        self._finite: Tensor | None = None

    def of_task(self, number: int) -> Gradients:
        if self._kept is not None and number in self._held:
            return [None if gradient is None else gradient[number] for gradient in self._kept]
        first, found = not self._passed, self._pass(number)
        if first and sum(gradient.numel() for gradient in found if gradient is not None) * len(self.names) <= _KEPT_NUMBERS:
            self._kept = [None] * len(self.edges)
        self._put(number, found)
        return found

    def weighted(self, weights: Float[Tensor, " m"]) -> Gradients:
        if self._kept is not None and len(self._held) == len(self.names):
            return [None if gradient is None else weighted_sum(weights, gradient) for gradient in self._kept]
        total: Gradients = [None] * len(self.edges)
        for number in range(len(self.names)):
            for place, gradient in enumerate(self._pass(number)):
                if gradient is not None:
                    weight, before = weights[number].to(gradient.dtype), total[place]
                    total[place] = gradient * weight if before is None else before.addcmul_(gradient, weight)
        return total

    def rows(self) -> Gradients:
        self._kept = [None] * len(self.edges) if self._kept is None else self._kept
        for number in range(len(self.names)):
            if number not in self._held:
                self._put(number, self._pass(number))
        return self._kept

    def gramian(self) -> Float[Tensor, "m m"]:
        return inner_products([gradient.flatten(1) for gradient in self.rows() if gradient is not None], self.losses)

    def keep(self, finite: Bool[Tensor, " m"]) -> None:
        self._finite = finite
        if self._kept is not None:
            self._kept = [None if gradient is None else only(gradient, finite) for gradient in self._kept]

    def _pass(self, number: int) -> Gradients:
        """Gradients of one task, and at the first time also of what is its own."""
        loss, entries = self._losses[number], self._entries[number]
        own = [] if number in self._passed else above([edge_of(loss)], self._stop).leaves
        wanted: list[Any] = [*map(input_of, entries), *own]
        if not wanted:  # a loss of its inputs alone
            return []
        found = torch.autograd.grad([loss], wanted, retain_graph=True, allow_unused=True)
        self._own(own, found[len(entries) :], list(found[: len(entries)]))
        self._passed.add(number)
        finite = None if self._finite is None else ~self._finite[number]
        places = found[: len(entries)]
        return list(places) if finite is None else [None if g is None else g.masked_fill(finite, 0.0) for g in places]

    def _put(self, number: int, gradients: Gradients) -> None:
        if self._kept is None:
            return
        for place, gradient in enumerate(gradients):
            held = self._kept[place]
            if held is None and gradient is not None:
                held = self._kept[place] = gradient.new_empty((len(self.names), *gradient.shape))
                held[list(self._held)] = 0.0
            if held is not None:
                held[number] = 0.0 if gradient is None else gradient
        self._held.add(number)


@final
class CutByOutputs(Cut):
    """One pass through all heads at once: each loss reads its own row of `Shared.outputs`, so the rows' gradients are the tasks'.

    Args:
        losses: Loss of each of the m tasks.
        shared: What the sharing gave.
        tasks: Tasks of the rows of `shared.outputs`.
    """

    def __init__(self, losses: Mapping[str, Tensor], shared: Shared, tasks: Sequence[str]) -> None:
        super().__init__(losses, [edge_of(place) for place in shared.junction if place.requires_grad])
        self.outputs = shared.outputs
        self.expanded = _is_expanded(shared)
        entry = edge_of(self.outputs)
        heads = above([edge_of(loss) for loss in losses.values()], [entry]).leaves
        d, *own = torch.autograd.grad(list(losses.values()), [self.outputs, *heads], allow_unused=True)
        self._own(heads, own, [])
        between = above([entry], self.edges).leaves
        deeper: list[Any] = [edge_of(mixture.mixed) for mixture in shared.mixtures[1:]]
        if between or deeper:
            wanted: list[Any] = [*between, *self.edges, *deeper]
            found = torch.autograd.grad([self.outputs], wanted, [d], retain_graph=True, allow_unused=True)
            places = found[len(between) : len(wanted) - len(deeper)]
            self._own(between, found[: len(between)], list(places))
            deeper = list(found[len(wanted) - len(deeper) :])
        self.places = [tasks.index(name) for name in losses]
        self.gradient: Tensor = d
        self.taken = [mixture.taken.detach() for mixture in shared.mixtures]
        self.mixed: list[Tensor] = [d, *deeper][: len(self.taken)]

    @property
    def compared_edges(self) -> list[GradientEdge]:
        return self.edges[: len(self.taken)] or self.edges

    def of_task(self, number: int) -> Gradients:
        row, d = self.places[number], self.gradient
        if self.expanded:
            return [d[row]]
        alone = torch.zeros_like(d)
        alone[row] = d[row]
        return self._through(alone)

    def compared(self, number: int) -> Gradients:
        if not self.taken:
            return self.of_task(number)
        row = self.places[number]
        return [taken[row].T.unsqueeze(2).to(d.dtype) * d[row] for taken, d in zip(self.taken, self.mixed, strict=True)]

    def weighted(self, weights: Float[Tensor, " m"]) -> Gradients:
        if self.expanded:
            return [weighted_sum(weights, self._present())]
        every = weights.new_zeros(len(self.gradient))
        every[self.places] = weights
        return self._through(self.gradient * every.to(self.gradient.dtype).view(-1, *[1] * (self.gradient.dim() - 1)))

    def gramian(self) -> Float[Tensor, "m m"]:
        if self.expanded:
            return inner_products([self._present().flatten(1)], self.losses)
        if self.taken:
            return torch.stack([self._of_mixture(*at) for at in zip(self.taken, self.mixed, strict=True)]).sum(0)
        return inner_products([place.flatten(1) for place in self.rows() if place is not None], self.losses)

    def keep(self, finite: Bool[Tensor, " m"]) -> None:
        every = finite.new_ones(len(self.gradient))
        every[self.places] = finite
        self.gradient = only(self.gradient, every)
        self.mixed = [only(mixed, every) for mixed in self.mixed]

    def _of_mixture(self, taken: Float[Tensor, "k n e"], mixed: Float[Tensor, "k n h"]) -> Float[Tensor, "m m"]:
        a, d = (part[self.places].float().transpose(0, 1) for part in (taken, mixed))
        return ((a @ a.mT) * (d @ d.mT)).sum(0, dtype=accumulator(d))

    def _present(self) -> Tensor:
        return self.gradient if self.places == list(range(len(self.gradient))) else self.gradient[self.places]

    def _through(self, d: Tensor) -> Gradients:
        return list(torch.autograd.grad([self.outputs], self.edges, [d], retain_graph=True, allow_unused=True))


def cut(losses: Mapping[str, Tensor], junction: Shared | Sequence[Tensor], shared: Sequence[Tensor], tasks: Sequence[str]) -> Cut:
    """The cut that a user's arguments name, or that the graph shows.

    Args:
        losses: Loss of each present task.
        junction: What a sharing gave, or activations where tasks part, or () to read the place off the graph.
        shared: Parameters that all tasks use; () reads them off the graph.
        tasks: Tasks of the rows of `Shared.outputs`.

    Raises:
        PolytaskError: If the graph shows no place where tasks part.
    """
    if isinstance(junction, Shared):
        return _cut_shared(losses, junction, tasks)
    if junction:
        return CutByLosses(losses, [edge_of(place) for place in junction if place.requires_grad])
    if shared:
        return CutByLosses(losses, [edge_of(parameter) for parameter in shared])
    edges = parting(list(losses.values()))
    if feeds(edges):
        raise PolytaskError(
            message(
                "Balancing gradients needs one place where the tasks part.",
                received=f"{len(edges)} places that feed each other",
                way_out="Pass `junction=`: the `Shared` of a sharing, or the activations; or `shared=`: the parameters.",
            )
        )
    return CutByLosses(losses, edges)


def _cut_shared(losses: Mapping[str, Tensor], shared: Shared, tasks: Sequence[str]) -> Cut:
    edges = [edge_of(place) for place in shared.junction if place.requires_grad]
    if not edges or not shared.outputs.requires_grad:
        return CutByLosses(losses, edges)
    rows = [tasks.index(name) for name in losses]
    if not _is_expanded(shared):
        return CutByOutputs(losses, shared, tasks)
    if entries := rows_of(losses, shared.outputs, rows):
        return CutByLosses(losses, edges, entries)
    return CutByOutputs(losses, shared, tasks) if reads_rows(losses, shared.outputs, rows) else CutByLosses(losses, edges)


def _is_expanded(shared: Shared) -> bool:
    """Whether all tasks read one place."""
    if len(shared.junction) != 1 or shared.outputs.stride(0):
        return False
    return shared.outputs.data_ptr() == shared.junction[0].data_ptr()


def rows_of(losses: Mapping[str, Tensor], outputs: Tensor, rows: Sequence[int]) -> list[list[GradientEdge]]:
    """Where each task reads its own row of the outputs: gradients are found there without a tensor of all tasks' rows.

    () where rows are not read one by one, or are joined again: there a pass of one task would go through all.
    """
    readers = list(dict.fromkeys(above([edge_of(loss) for loss in losses.values()], [edge_of(outputs)]).readers))
    first: Node = readers[0] if readers else None
    if len(readers) == 1 and first.name() == "UnbindBackward0" and first._saved_dim == 0:
        every = [GradientEdge(first, row) for row in rows]
    else:
        selected = {node._saved_index: node for node in readers if node.name() == "SelectBackward0" and node._saved_dim == 0}
        if len(selected) < len(readers) or not selected.keys() >= set(rows):
            return []
        every = [GradientEdge(selected[row], 0) for row in rows]
    met = above([edge_of(next(iter(losses.values())))], every).met
    return [[edge] for edge in every] if len(met) == 1 else []


def reads_rows(losses: Mapping[str, Tensor], outputs: Tensor, rows: Sequence[int]) -> bool:
    """Whether losses can be told apart by rows of expanded outputs: not where heads read one row for all, as fast heads do."""
    readers = above([edge_of(loss) for loss in losses.values()], [edge_of(outputs)]).readers
    selected = [node for node in readers if node.name() == "SelectBackward0"]
    return len(selected) < len(readers) or {node._saved_index for node in selected}.issuperset(rows)


def weighted_sum(weights: Float[Tensor, " m"], gradients: Float[Tensor, "m *f"]) -> Float[Tensor, "*f"]:
    """`Σ_i w_i g_i`, in the type of the gradients."""
    return (weights.to(gradients.dtype) @ gradients.flatten(1)).reshape(gradients.shape[1:])


def only(gradients: Float[Tensor, "m *f"], finite: Bool[Tensor, " m"]) -> Float[Tensor, "m *f"]:
    """Zero where a task is not to be kept."""
    return gradients.masked_fill(~finite.view(-1, *[1] * (gradients.dim() - 1)), 0.0)


def accumulator(like: Tensor) -> torch.dtype:
    """The widest type that a device has: an Apple GPU has no float64."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def inner_products(blocks: Sequence[Float[Tensor, "m _"]], like: Float[Tensor, " m"]) -> Float[Tensor, "m m"]:
    """Inner products of m rows, over all blocks; zeros on the device of `like` where there is no block."""
    if not blocks:
        return torch.zeros(len(like), len(like), dtype=accumulator(like), device=like.device)
    wide = [block.float() if block.dtype in (torch.bfloat16, torch.float16) else block for block in blocks]
    return torch.stack([(block @ block.mT).to(accumulator(block)) for block in wide]).sum(0)


def _filled(gradients: Sequence[Tensor | None]) -> Tensor | None:
    like = next((gradient for gradient in gradients if gradient is not None), None)
    if like is None:
        return None
    return torch.stack([torch.zeros_like(like) if gradient is None else gradient for gradient in gradients])
