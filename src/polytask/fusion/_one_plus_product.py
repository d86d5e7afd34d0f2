"""Weighted product of one plus each prediction."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask.errors import message, nearest
from polytask.fusion._base import Fusion, Mistake, positive_mistakes


@final
class OnePlusProduct(Fusion):
    """Product of powers of one plus a multiple of each prediction.

    `score = log Π_k (1 + a_k p_k)^w_k = Σ_k w_k log(1 + a_k p_k)`, the logarithm as in `weighted_product`. A prediction below 0
    counts as 0.

    Prefer it where predictions come near 0 and there mean nothing: below `1 / a_k` a prediction counts as in a sum, above as in
    a product. A prediction of 0 is neutral, so a task that a row does not have can be given as 0. Not where relative changes of
    rare events must count in full (`weighted_product`).

    Cost: one logarithm a prediction.

    Source: the form (1 + a p)^w as ranking teams of short-video feeds describe it in talks; no paper was at hand.

    Differs: nothing is printed to differ from.

    Args:
        weights: Power of each prediction, by its name; below 0 for what counts against a row.
        scale: The multiples a: one for all, or one for each weighted prediction by name.

    Raises:
        ConfigError: Names every weight and option that cannot be used.

    Example:
        >>> import torch
        >>> fusion = OnePlusProduct({"click": 1.0, "like": 2.0}, scale={"click": 10.0, "like": 1.0})
        >>> round(fusion({"click": torch.tensor(0.1), "like": torch.tensor(1.0)}).exp().item(), 3)
        8.0
    """

    name: ClassVar[str] = "one_plus_product"

    def __init__(self, weights: Mapping[str, float], *, scale: float | Mapping[str, float] = 1.0) -> None:
        super().__init__(weights, scale=scale)
        self.scale = dict.fromkeys(weights, float(scale)) if not isinstance(scale, Mapping) else _floats(scale)

    @property
    def options(self) -> dict[str, Any]:
        """Its multiples."""
        return {"scale": dict(self.scale)}

    def term(self, name: str, prediction: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """`log(1 + a p)`."""
        return (self.scale[name] * prediction.clamp_min(0)).log1p()

    @classmethod
    def _option_mistakes(cls, weights: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Mistake]:
        scale = options["scale"]
        if not isinstance(scale, Mapping):
            yield from positive_mistakes("options.scale", scale)
            return
        for name, value in scale.items():
            yield from positive_mistakes(f"options.scale.{name}", value)
            if name not in weights:
                yield f"options.scale.{name}", message("It must have a weight.", received="none", way_out=nearest(name, weights))
        for name in weights:
            if name not in scale:
                yield f"options.scale.{name}", message("Each weighted prediction needs its multiple.", received="none")


def _floats(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
