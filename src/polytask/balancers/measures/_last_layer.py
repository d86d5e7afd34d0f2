"""Gradients of the last shared layer."""

from typing import final

from polytask.balancers._cut import Cut
from polytask.balancers.measures._base import Measure, Measured
from polytask.balancers.measures._layers import measure_layers


@final
class AtLastLayer(Measure):
    """Gradients of the last shared layer's parameters: of one matrix, of the last convolution, of the last layer of each expert.

    `G_ij = <δ_iᵀ a, δ_jᵀ a>` with the layer's input `a` and the tasks' gradients `δ` at its output

    Prefer it as a faithful and cheap stand-in for all parameters. Not under a compiled trunk: there is no layer to be seen.

    Cost: one pass through the heads, k products of the size of the layer's own gradient.

    Source: Chen et al. 2018, "GradNorm", section 3: gradients of the last shared layer save compute.

    Example:
        >>> AtLastLayer()
        AtLastLayer()
    """

    def forward(self, cut: Cut) -> Measured:
        """Measures the last shared layer."""
        return measure_layers(cut)
