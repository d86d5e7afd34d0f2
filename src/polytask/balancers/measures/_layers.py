"""What measures of the last shared layer have in common."""

from collections.abc import Callable

from torch import Tensor

from polytask.balancers._blocks import Blocks
from polytask.balancers._cut import Cut, inner_products
from polytask.balancers._products import Product, deltas, last_products, layer_gradient
from polytask.balancers.measures._base import Measured


def measure_layers(
    cut: Cut,
    project: Callable[[Product], Tensor] = lambda product: product.rows,
    thin: Callable[[Tensor, Product], Tensor] = lambda delta, product: delta,  # noqa: ARG005
) -> Measured:
    """Gradients of the last shared layer below each place, one task after the other: what one task sends fits the cache.

    Where no layer can be read off the graph (an encoder of tables alone, a compiled trunk) the rows at the junction are measured.

    Args:
        cut: The tasks' gradients at the junction.
        project: Rows of a layer as they enter its gradient, made once for all tasks.
        thin: What is kept of a task's gradient at a layer's output.
    """
    edges = cut.compared_edges
    products = list({product.edge.node: product for edge in edges for product in last_products(edge)}.values())
    at_parameters = [place for place, edge in enumerate(edges) if getattr(edge.node, "variable", None) is not None]
    if not products and not at_parameters:
        return Measured(cut.gramian())
    if len(at_parameters) == len(edges):  # rows of their own: the exact gradients are at hand, and kept for the weighted sum
        exact = {place: gradients.flatten(1) for place, gradients in enumerate(cut.rows()) if gradients is not None}
        return Measured(inner_products(list(exact.values()), cut.losses), list(exact.values()), places=tuple(exact))
    rows = [project(product) for product in products]
    thinned = [p if p.rectified is None else p._replace(rectified=thin(p.rectified, p)) for p in products]
    blocks = Blocks(len(cut.names), [None] * (2 * len(products) + len(at_parameters)))
    for number in range(len(cut.names)):
        gradients, found = cut.compared(number), list[Tensor | None]()
        for product, delta, kept in zip(thinned, deltas(edges, gradients, products), rows, strict=True):
            parts = [] if delta is None else layer_gradient(thin(delta, product), product, kept)
            found += [*parts, *[None] * (2 - len(parts))]
        blocks.put(number, [*found, *[gradients[place] for place in at_parameters]])
    return Measured(inner_products(blocks.values, cut.losses), blocks.values, places=blocks.places)
