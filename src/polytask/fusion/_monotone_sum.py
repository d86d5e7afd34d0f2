"""Weighted sum that rises with every prediction."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask.fusion._base import Fusion, Mistake
from polytask.fusion._curves import Curve, as_curves, curve_mistakes, plain_curves


@final
class MonotoneSum(Fusion):
    """Sum that cannot fall where a prediction rises: an additive model of rising curves.

    `score = Σ_k w_k f_k(p_k)` with `w_k >= 0` and rising curves `f_k` of straight pieces (`fit_curves`); a prediction without a
    curve is taken as it is.

    Prefer it for expected values from predictions that are not calibrated: the curves calibrate them, the weights are what the
    events are worth. Not where a prediction counts against a row (`weighted_sum`), nor where ties hurt: rows tie on the flat
    stretches of a curve and beyond its ends.

    Cost: a search among the knots for each curve.

    Source: generalised additive models (Hastie and Tibshirani, 1990) with curves under order restrictions (Barlow et al., 1972);
    books not at hand.

    Differs: curves are fitted one by one to their own labels, not together for an objective of the ranking.

    Args:
        weights: Weight of each prediction, by its name; 0 or more.
        curves: Rising curves by the name of their prediction; or, as in a file, `{"at": [...], "to": [...]}`.

    Raises:
        ConfigError: Names every weight and option that cannot be used.

    Example:
        >>> import torch
        >>> from polytask.fusion import Curve
        >>> fusion = MonotoneSum({"click": 2.0, "buy": 1.0}, curves={"click": Curve((0.0, 1.0), (0.0, 0.5))})
        >>> fusion({"click": torch.tensor(0.5), "buy": torch.tensor(0.25)}).item()
        0.75
    """

    name: ClassVar[str] = "monotone_sum"
    signed: ClassVar[bool] = False

    def __init__(self, weights: Mapping[str, float], *, curves: Mapping[str, Curve | Mapping[str, Any]] | None = None) -> None:
        super().__init__(weights, curves=curves)
        self.curves = as_curves(curves)

    @property
    def options(self) -> dict[str, Any]:
        """Its curves."""
        return {"curves": plain_curves(self.curves)}

    def term(self, name: str, prediction: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """`f(p)`."""
        return self.curves[name](prediction) if name in self.curves else prediction

    @classmethod
    def _option_mistakes(cls, weights: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from curve_mistakes(weights, options["curves"])
