"""What every numeric embedding is: one number of each field in, one vector of each field out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class NumericEmbedding(nn.Module, ABC):
    """Base of the family. Built alike: `Embedding(edges, dim, *, ...)`; exchangeable by name.

    Fields come first in what it returns, because each field has weights of its own and one batched product serves all.

    Args:
        edges: Increasing bin boundaries of each of m fields, on the fields' fitted scale; fields may differ in their number.
        dim: Width e of the vector of one field.
    """

    def __init__(self, edges: Sequence[Sequence[float]], dim: int) -> None:
        super().__init__()
        self.num_fields, self.dim = len(edges), dim

    @abstractmethod
    def forward(self, x: Float[Tensor, "n m"]) -> Float[Tensor, "m n e"]:
        """Gives the vectors of m fields on n rows; NaN is a missing value and has a learned vector of its own."""
