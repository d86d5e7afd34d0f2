"""A number as a learned sum of cosines."""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.encoders._linear import RobustLinear, smooth_clip
from polytask.encoders._numeric import NumericEmbedding


@final
class Periodic(NumericEmbedding):
    """Periodic embedding of each number with learned frequencies.

    Formula: `e(x) = robust_linear(x) + W cos(2 pi f c(x) + p)`, with c the smooth clip at 3, `f ~ N(0, sigma^2)`,
    `p ~ U(-pi, pi)`; f, p and W are learned, per field. A missing x has the linear term only.

    Prefer it for smooth or truly periodic responses and for columns without ties; piecewise-linear bins find steps and the
    spikes of zero-inflated columns better. `sigma` is the knob that matters: 0.01 to 10.
    Cost: a cosine for each value and frequency, and one product of `n q` by `q e` a field.
    Source: Gorishniy et al. 2022, eq. 2 (frequencies); Holzmüller et al. 2024, "PBLD" (phases, no sine, the number beside it).
    Differs: one linear map in place of PBLD's hidden layer, which is the same function; no factor on its learning rate.

    Args:
        edges: One entry a field; the boundaries themselves are not used.
        dim: Width e of the vector of one field.
        num_frequencies: Cosines a field, q.
        sigma: Standard deviation of the initial frequencies, in periods per unit of the fitted scale.

    Example:
        >>> Periodic([(), ()], 3)(torch.tensor([[0.5, float("nan")]])).shape
        torch.Size([2, 1, 3])
    """

    def __init__(self, edges: Sequence[Sequence[float]], dim: int, *, num_frequencies: int = 16, sigma: float = 0.1) -> None:
        super().__init__(edges, dim)
        m, q = self.num_fields, num_frequencies
        self.linear = RobustLinear(edges, dim)
        self.frequency = nn.Parameter(torch.randn(m, 1, q) * sigma)
        self.phase = nn.Parameter(torch.empty(m, 1, q).uniform_(-math.pi, math.pi))
        self.weight = nn.Parameter(torch.empty(m, q, dim).uniform_(-(q**-0.5), q**-0.5))

    def forward(self, x: Float[Tensor, "n m"]) -> Float[Tensor, "m n e"]:
        """Gives the vectors of m fields on n rows; NaN is a missing value and has a learned vector of its own."""
        value = smooth_clip(torch.nan_to_num(x)).T.unsqueeze(2)
        waves = torch.cos(torch.addcmul(self.phase, value, 2 * math.pi * self.frequency))
        return torch.baddbmm(self.linear(x), waves * ~torch.isnan(x).T.unsqueeze(2), self.weight)
