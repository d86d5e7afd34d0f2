"""The last shared layer, read off autograd's graph: products of an activation with a parameter, and what was multiplied."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from polytask.balancers._graph import Node

_SHAPES_ONLY = {  # between a parameter and the product that it enters
    "TBackward0",
    "TransposeBackward0",
    "PermuteBackward0",
    "ViewBackward0",
    "UnsafeViewBackward0",
    "ReshapeAliasBackward0",
    "ToCopyBackward0",
    "UnbindBackward0",
    "SelectBackward0",
    "SliceBackward0",
    "SqueezeBackward1",
    "UnsqueezeBackward0",
    "CatBackward0",
    "StackBackward0",
}

_REORDERING = {"TransposeBackward0", "PermuteBackward0", "IndexSelectBackward0", "IndexBackward0", "GatherBackward0"}


class Product(NamedTuple):
    """A layer whose gradient by one task is `layer_gradient(δ, rows)`, δ being the gradient at its output.

    Args:
        edge: Its output, in the graph.
        rows: What was multiplied by the parameter: `*e n i`, or `n c *space` of a convolution.
        has_bias: Whether a parameter was added.
        convolution: Stride, padding, dilation, groups and kernel of a convolution; None for a matrix product.
        rectified: What a rectifier inside the product gave, `g t n o`; None where there is none.
    """

    edge: GradientEdge
    rows: Tensor
    has_bias: bool
    convolution: dict[str, Any] | None = None
    rectified: Tensor | None = None


def last_products(edge: GradientEdge) -> list[Product]:
    """The products with a parameter that are nearest to a place, by number of nodes: one, or several side by side.

    A residual stream leads past many layers; nearest means the last of them. () where the walk meets none, as below a compiled
    trunk, which is one node.
    """
    seen, level = {edge.node}, [edge]
    while level:
        found = [product for place in level if (product := _product(place)) is not None]
        if found:
            return found
        following: list[GradientEdge] = []
        for place in level:
            for node, number in place.node.next_functions:
                if node is not None and node not in seen:
                    seen.add(node)
                    following.append(GradientEdge(node, number))
        level = following
    return []


def products_below(last: Product) -> list[Product]:
    """Products with a parameter further down whose rows are those of a product: layers of the same stream.

    Past a transposition rows may stand in another order, so the walk ends there; attention's own layers are left out, and
    convolutions, whose rows are places.
    """
    if last.convolution is not None:
        return []
    rows, seen, found = last.rows.shape[:-1].numel(), {last.edge.node}, list[Product]()
    stacked = last.rows.dim() == 3 and last.edge.node.name() != "LinearBackward0"
    waiting = [last.edge.node]
    while waiting:
        for node, number in waiting.pop().next_functions:
            if node is None or node in seen:
                continue
            seen.add(node)
            product = _product(GradientEdge(node, number))
            if product is not None and product.convolution is None:
                sizes = {rows, last.rows.shape[1]} if stacked else {rows}  # stacked layers may read one input, lower down
                found += [product] if product.rows.shape[:-1].numel() in sizes else []
            if stacked or node.name() not in _REORDERING:
                waiting.append(node)
    return found


def _product(edge: GradientEdge) -> Product | None:
    read = _READERS.get(edge.node.name())
    return None if read is None else read(edge)


def _is_parameter(node: Node) -> bool:
    for _ in range(6):
        if node is None:
            return False
        if getattr(node, "variable", None) is not None:
            return True
        if node.name() not in _SHAPES_ONLY:
            return False
        node = node.next_functions[0][0]
    return False


def _matrices(rows: str, *, bias: bool) -> Callable[[GradientEdge], Product | None]:
    """Reader of `rows @ weight` with or without a bias; autograd keeps the rows for the weight's gradient."""

    def read(edge: GradientEdge) -> Product | None:
        right, _ = edge.node.next_functions[-1]
        if not _is_parameter(right):
            return None
        added = bias and _is_parameter(edge.node.next_functions[0][0])
        return Product(edge, getattr(edge.node, rows).detach(), added)

    return read


def _linear(edge: GradientEdge) -> Product | None:
    node: Node = edge.node
    _, (weight, _), (bias, _) = node.next_functions
    return Product(edge, node._saved_input.detach(), _is_parameter(bias)) if _is_parameter(weight) else None


def _convolution(edge: GradientEdge) -> Product | None:
    node: Node = edge.node
    _, (weight, _), (bias, _) = node.next_functions
    if not _is_parameter(weight) or node._saved_transposed:
        return None
    about = {name: getattr(node, f"_saved_{name}") for name in ("stride", "padding", "dilation", "groups")}
    return Product(edge, node._saved_input.detach(), _is_parameter(bias), about | {"kernel": node._saved_weight.shape[2:]})


def _dense(edge: GradientEdge) -> Product | None:
    """Reader of `polytask.sharing`'s own layers: t of them on each of g inputs."""
    node: Node = edge.node
    _, (weight, _), *bias = node.next_functions  # no place for a bias that is None
    rows, _, rectified = node.saved_tensors
    gave = None if rectified is None else rectified.detach()
    has_bias = any(_is_parameter(added) for added, _ in bias)
    return Product(edge, rows.detach(), has_bias, None, gave) if _is_parameter(weight) else None


_READERS: dict[str, Callable[[GradientEdge], Product | None]] = {
    "AddmmBackward0": _matrices("_saved_mat1", bias=True),
    "MmBackward0": _matrices("_saved_self", bias=False),
    "BaddbmmBackward0": _matrices("_saved_batch1", bias=True),
    "BmmBackward0": _matrices("_saved_self", bias=False),
    "LinearBackward0": _linear,
    "ConvolutionBackward0": _convolution,
    "_DenseBackward": _dense,
}


def layer_gradient(delta: Tensor, product: Product, rows: Tensor) -> list[Tensor]:
    """Gradient of the layer's weight and bias by one task, each as a flat vector.

    Args:
        delta: Gradient at the product's output.
        product: The layer.
        rows: `product.rows`, or some of its rows, or its columns projected: then the weight's gradient is projected alike.
    """
    if product.convolution is not None:
        return _convolution_gradient(delta, product, product.convolution, rows)
    if delta.dim() == 4 and product.edge.node.name() == "_DenseBackward":
        delta = delta if product.rectified is None else torch.ops.aten.threshold_backward(delta, product.rectified, 0)
        rows = rows.unsqueeze(1)
    elif delta.dim() != 3 or product.edge.node.name() == "LinearBackward0":  # else one matrix for each of several layers
        delta, rows = delta.flatten(0, -2), rows.flatten(0, -2)
    weight = delta.to(rows.dtype).mT @ rows
    return [weight.flatten(), *([delta.sum(-2).flatten()] if product.has_bias else [])]


def _convolution_gradient(delta: Tensor, product: Product, about: dict[str, Any], rows: Tensor) -> list[Tensor]:
    like = delta.new_empty((delta.shape[1], rows.shape[1] // about["groups"], *about["kernel"]))
    passes = (delta, rows.to(delta.dtype), like, None, about["stride"], about["padding"], about["dilation"])
    over = [0] * (delta.dim() - 2)
    _, weight, _ = torch.ops.aten.convolution_backward(*passes, False, over, about["groups"], [False, True, False])
    return [weight.flatten(), *([delta.sum([0, *range(2, delta.dim())])] if product.has_bias else [])]


def deltas(
    edges: Sequence[GradientEdge], gradients: Sequence[Tensor | None], products: Sequence[Product]
) -> Sequence[Tensor | None]:
    """Gradient of one task at the output of each product, from its gradients at the junction."""
    arrived = [(edge, gradient) for edge, gradient in zip(edges, gradients, strict=True) if gradient is not None]
    if not arrived or not products:
        return [None] * len(products)
    roots, gradient = zip(*arrived, strict=True)
    return torch.autograd.grad(roots, [p.edge for p in products], gradient, retain_graph=True, allow_unused=True)
