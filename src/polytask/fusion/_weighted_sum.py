"""Weighted sum of predictions."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask.fusion._base import Fusion, Mistake


@final
class WeightedSum(Fusion):
    """Sum of predictions, each times its weight.

    `score = Σ_k w_k p_k`.

    Prefer it where a weight is what an event is worth (a click 0.02, an order 1.50) and predictions are calibrated
    probabilities of events on the row: then the score is the expected value, and no other order earns more. For purchases that
    is the joint `click_and_buy`, not `buy`, which is given a click. Not where the scales of predictions differ and drift: the
    largest decides alone (`weighted_product`).

    Cost: one multiplication a prediction.

    Source: the expected value; Zhao et al., Recommending What Video to Watch Next, RecSys 2019, names combinations in general
    (paper not at hand).

    Differs: in nothing.

    Args:
        weights: Weight of each prediction, by its name; below 0 for what counts against a row.

    Raises:
        ConfigError: Names every weight that cannot be used.

    Example:
        >>> import numpy as np
        >>> fusion = WeightedSum({"click": 0.02, "click_and_buy": 1.5})
        >>> fusion.of_arrays({"click": np.array([0.5]), "click_and_buy": np.array([0.1])})
        array([0.16])
    """

    name: ClassVar[str] = "weighted_sum"

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights)

    @property
    def options(self) -> dict[str, Any]:
        """None."""
        return {}

    def term(self, name: str, prediction: Float[Tensor, "..."]) -> Float[Tensor, "..."]:  # noqa: ARG002 - one formula for all
        """The prediction itself."""
        return prediction

    @classmethod
    def _option_mistakes(cls, weights: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Mistake]:  # noqa: ARG003
        yield from ()
