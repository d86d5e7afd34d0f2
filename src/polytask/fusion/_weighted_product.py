"""Weighted product of predictions."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask.fusion._base import Fusion, Mistake, positive_mistakes


@final
class WeightedProduct(Fusion):
    """Product of powers: what multi-task feeds rank by.

    `score = log Π_k (ε + p_k)^w_k = Σ_k w_k log(ε + p_k)`. The score is the logarithm: it orders rows as the product does, and
    neither overflows nor underflows. A prediction below 0 counts as 0.

    Prefer it for probabilities and amounts of different sizes: a weight says what a relative change is worth, so doubling a
    rare event counts as much as doubling a frequent one, and a row that fails in one respect is not saved by another. Not where
    an expected value is wanted (`weighted_sum`), nor where predictions near 0 are noise: they dominate (`one_plus_product`).

    Cost: one logarithm a prediction.

    Source: Tang et al., Progressive Layered Extraction, RecSys 2020, prints the product of powers; Zhao et al., Recommending What
    Video to Watch Next, RecSys 2019, combines by weights that are tuned by hand (papers not at hand: by summaries of them).

    Differs: `epsilon` keeps the score and its gradient finite at 0; the sources print none.

    Args:
        weights: Power of each prediction, by its name; below 0 for what counts against a row.
        epsilon: What a prediction of 0 counts as, on the scale of the predictions; far below all that should differ.

    Raises:
        ConfigError: Names every weight and option that cannot be used.

    Example:
        >>> import numpy as np
        >>> fusion = WeightedProduct({"click": 1.0, "watch": 0.5})
        >>> fusion.of_arrays({"click": np.array([0.1, 0.2]), "watch": np.array([90.0, 10.0])}).argmax().item()
        0
    """

    name: ClassVar[str] = "weighted_product"

    def __init__(self, weights: Mapping[str, float], *, epsilon: float = 1e-6) -> None:
        super().__init__(weights, epsilon=epsilon)
        self.epsilon = float(epsilon)

    @property
    def options(self) -> dict[str, Any]:
        """Its epsilon."""
        return {"epsilon": self.epsilon}

    def term(self, name: str, prediction: Float[Tensor, "..."]) -> Float[Tensor, "..."]:  # noqa: ARG002 - one formula for all
        """`log(ε + p)`."""
        return (prediction.clamp_min(0) + self.epsilon).log()

    @classmethod
    def _option_mistakes(cls, weights: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Mistake]:  # noqa: ARG003
        yield from positive_mistakes("options.epsilon", options["epsilon"])
