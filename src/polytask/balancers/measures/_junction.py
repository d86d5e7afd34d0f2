"""Gradients of the rows of the shared activations."""

from typing import final

from polytask.balancers._cut import Cut
from polytask.balancers.measures._base import Measure, Measured


@final
class AtJunction(Measure):
    """Inner products of the gradients at the junction, over all rows.

    `G_ij = Σ_n <d_i[n], d_j[n]>`; for a mixture with gates `a` it factorises: `G_ij = Σ_n (a_i[n]·a_j[n]) (d_i[n]·d_j[n])`

    Prefer it when nothing else is affordable. Not when directions matter: two tasks may agree at each row and disagree in every
    parameter, since parameters add rows up; its cosines follow the exact ones poorly. The bound it gives is of MGDA-UB's kind.

    Cost: one product of k rows; no pass through the trunk.

    Source: Sener & Koltun 2018, "Multi-Task Learning as Multi-Objective Optimization", section 3.3 (an upper bound).

    Example:
        >>> AtJunction()
        AtJunction()
    """

    def forward(self, cut: Cut) -> Measured:
        """Measures at the junction."""
        return Measured(cut.gramian())
