"""A linear term of a number that no outlier can blow up."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.encoders._numeric import NumericEmbedding


@final
class RobustLinear(NumericEmbedding):
    """Linear in the number, smoothly clipped, and in its signed logarithm.

    Formula: `e(x) = b + v x / sqrt(1 + (x/3)^2) + u sign(x) log(1 + |x|)`; a missing x has a learned `e` of its own.
    The clip keeps what is inside the bulk of the data linear; the logarithm still tells far values apart.

    Prefer it alone for few rows or for truly linear problems; otherwise as the base that other embeddings add to, as they do.
    Cost: one product of `n 4` by `4 e` a field.
    Source: Holzmüller et al. 2024 (RealMLP), the smooth clip; the signed logarithm is ours, measured on census data.
    Differs: RealMLP feeds the clipped number itself; here each field has a vector, so that fields keep equal widths.

    Args:
        edges: One entry a field; the boundaries themselves are not used.
        dim: Width e of the vector of one field.

    Example:
        >>> RobustLinear([(), ()], 3)(torch.tensor([[1.0, float("nan")]])).shape
        torch.Size([2, 1, 3])
    """

    def __init__(self, edges: Sequence[Sequence[float]], dim: int) -> None:
        super().__init__(edges, dim)
        # The four rows: constant, clipped, logarithm, missing. Scale of rtdl's linear embeddings.
        weight = torch.empty(self.num_fields, 4, dim).uniform_(-(dim**-0.5), dim**-0.5)
        weight[:, 3] = 0.0
        self.weight = nn.Parameter(weight)

    def forward(self, x: Float[Tensor, "n m"]) -> Float[Tensor, "m n e"]:
        """Gives the vectors of m fields on n rows; NaN is a missing value and has a learned vector of its own."""
        missing = torch.isnan(x).T
        value = torch.nan_to_num(x).T
        columns = torch.stack([(~missing).to(x.dtype), smooth_clip(value), signed_log(value), missing.to(x.dtype)], dim=2)
        return torch.bmm(columns, self.weight)


def smooth_clip(x: Float[Tensor, "*n"], limit: float = 3.0) -> Float[Tensor, "*n"]:
    """`x / sqrt(1 + (x / limit)^2)`: the number itself near 0, at most `limit` far away.

    Example:
        >>> smooth_clip(torch.tensor([0.01, 1e9])).tolist()
        [0.00999994482845068, 3.0]
    """
    return x / torch.sqrt(1 + (x / limit) ** 2)


def signed_log(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """`sign(x) log(1 + |x|)`.

    Example:
        >>> signed_log(torch.tensor([0.0, -1.0])).tolist()
        [0.0, -0.6931471824645996]
    """
    return torch.copysign(torch.log1p(x.abs()), x)
