"""Weighted product that rises with every prediction."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask.fusion._base import Fusion, Mistake, positive_mistakes
from polytask.fusion._curves import Curve, as_curves, curve_mistakes, plain_curves


@final
class MonotoneProduct(Fusion):
    """Product of powers that cannot fall where a prediction rises.

    `score = Σ_k w_k log(ε + f_k(p_k))` with `w_k >= 0` and rising curves `f_k` of straight pieces (`fit_curves`); a prediction
    without a curve is taken as it is. Values below 0 count as 0.

    Prefer it where somebody must be able to promise that a better prediction never ranks lower, and where predictions need
    calibration before they are fused: a fitted curve is one. Not where a prediction counts against a row (`weighted_product`),
    nor where ties hurt: rows tie on the flat stretches of a curve and beyond its ends.

    Cost: one logarithm a prediction, and a search among the knots for each curve.

    Source: `weighted_product`; for the curves, regression under order restrictions (Barlow et al., 1972, not at hand) on straight
    pieces.

    Differs: curves are fitted one by one to their own labels, not together for an objective of the ranking.

    Args:
        weights: Power of each prediction, by its name; 0 or more.
        curves: Rising curves by the name of their prediction; or, as in a file, `{"at": [...], "to": [...]}`.
        epsilon: What a value of 0 counts as.

    Raises:
        ConfigError: Names every weight and option that cannot be used.

    Example:
        >>> import torch
        >>> from polytask.fusion import Curve
        >>> fusion = MonotoneProduct({"click": 1.0}, curves={"click": Curve((0.0, 1.0), (0.0, 0.5))}, epsilon=0.1)
        >>> round(fusion({"click": torch.tensor(0.8)}).exp().item(), 3)
        0.5
    """

    name: ClassVar[str] = "monotone_product"
    signed: ClassVar[bool] = False

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        curves: Mapping[str, Curve | Mapping[str, Any]] | None = None,
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__(weights, curves=curves, epsilon=epsilon)
        self.curves, self.epsilon = as_curves(curves), float(epsilon)

    @property
    def options(self) -> dict[str, Any]:
        """Its curves and its epsilon."""
        return {"curves": plain_curves(self.curves), "epsilon": self.epsilon}

    def term(self, name: str, prediction: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """`log(ε + f(p))`."""
        value = self.curves[name](prediction) if name in self.curves else prediction
        return (value.clamp_min(0) + self.epsilon).log()

    @classmethod
    def _option_mistakes(cls, weights: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from curve_mistakes(weights, options["curves"])
        yield from positive_mistakes("options.epsilon", options["epsilon"])
