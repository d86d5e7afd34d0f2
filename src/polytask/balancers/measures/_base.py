"""What every measure is: task gradients in, their inner products out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from polytask.balancers._blocks import Blocks
from polytask.balancers._cut import Cut


class Measured(NamedTuple):
    """What was measured of m tasks.

    Args:
        gramian: Inner products of the tasks' gradients, in float64 where the device has it.
        features: Matrices `m f` whose rows have these inner products: gradients of parameters, or sketches of them; () where
            only the inner products are known.
        exact: Gradients of all shared parameters, where they were measured in full.
        places: Which layer or parameter each feature is of: the same number in every step, also where fewer are reached.
        finite: Which tasks count, where only the device knows it; None where all do.
    """

    gramian: Float[Tensor, "m m"]
    features: Sequence[Float[Tensor, "m _"]] = ()
    exact: Blocks | None = None
    places: Sequence[int] = ()
    finite: Bool[Tensor, " m"] | None = None


class Measure(nn.Module, ABC):
    """Base of the family. A measure reads task gradients from a cut; it neither changes a graph nor writes a gradient."""

    @abstractmethod
    def forward(self, cut: Cut) -> Measured:
        """Measures the gradients of the cut's tasks."""
