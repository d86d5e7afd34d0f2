"""What autograd's graph says of tasks: where they part, and which parameters are theirs alone.

Nodes are walked, nothing is computed: some microseconds a node.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

Node: TypeAlias = Any
Place = tuple[Node, int]


def edge_of(tensor: Tensor) -> GradientEdge:
    """Where gradients of a tensor pass in the graph."""
    return get_gradient_edge(tensor)


def input_of(edge: GradientEdge) -> Tensor | GradientEdge:
    """What autograd is asked for: the parameter itself where the place is one."""
    variable: Tensor | None = getattr(edge.node, "variable", None)
    return edge if variable is None else variable


def place_of(edge: GradientEdge) -> Place:
    """A key of an edge."""
    return edge.node, edge.output_nr


class Above(NamedTuple):
    """What lies between some roots and the places to stop at.

    Args:
        leaves: Parameters, each once, in the order met.
        readers: Nodes that read one of the places.
        met: The places that were come upon.
    """

    leaves: list[Tensor]
    readers: list[Node]
    met: set[Place]


def above(roots: Iterable[GradientEdge], stop: Iterable[GradientEdge] = ()) -> Above:
    """Parameters that gradients of some roots reach without passing the places to stop at, and what reads those places.

    Args:
        roots: Where gradients start.
        stop: Places that are not passed.
    """
    stopped = {place_of(edge) for edge in stop}
    waiting = list({edge.node: None for edge in roots if place_of(edge) not in stopped})
    seen, found, readers, met = set(waiting), [], [], set()
    while waiting:
        node = waiting.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.append(variable)
        for place in node.next_functions:
            if place in stopped:
                readers.append(node)
                met.add(place)
            elif place[0] is not None and place[0] not in seen:
                seen.add(place[0])
                waiting.append(place[0])
    return Above(found, readers, met)


def parting(losses: Sequence[Tensor]) -> list[GradientEdge]:
    """The places where what several losses use begins: the first that are reached from two losses or more.

    One place, the output of a shared trunk, is the common case. Several may feed each other (an input that experts and gates
    read): then they are no cut, and `feeds` says so.
    """
    first: dict[Node, int] = {}
    entries: dict[Node, dict[Place, None]] = {}
    several: dict[Place, None] = {}
    for number, loss in enumerate(losses):
        waiting = [place_of(edge_of(loss))]
        while waiting:
            place = waiting.pop()
            node = place[0]
            known = node in first
            entries.setdefault(node, {})[place] = None
            if first.setdefault(node, number) != number:
                several |= entries[node]
            elif not known:
                waiting += [below for below in node.next_functions if below[0] is not None]
    return [GradientEdge(node, nr) for node, nr in dict.fromkeys(map(_repeated, several))]


def _repeated(place: Place) -> Place:
    """What an expand repeats: at the repetitions each task has a row of its own, and no two tasks meet."""
    while place[0].name() == "ExpandBackward0":
        place = place[0].next_functions[0]
    return place


def feeds(edges: Sequence[GradientEdge]) -> bool:
    """Whether one of some places lies below another."""
    nodes = {edge.node for edge in edges}
    if len(nodes) < 2:
        return False
    seen: set[Node] = set()
    waiting = [place[0] for node in nodes for place in node.next_functions if place[0] is not None]
    while waiting:
        node = waiting.pop()
        if node in nodes:
            return True
        if node not in seen:
            seen.add(node)
            waiting += [place[0] for place in node.next_functions if place[0] is not None]
    return False
