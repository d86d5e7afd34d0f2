"""Which weights are searched: shares of the predictions, from a cube of one dimension less."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float

from polytask.errors import ConfigError, DataError, message, nearest
from polytask.fusion._base import Fusion
from polytask.fusion._objectives import HeldOut


@final
@dataclass(frozen=True)
class WeightSpace:
    """Weights of some predictions, by shares that sum to 1.

    A share is the weight of a prediction's term divided by the spread of that term on the held-out rows: so neither units nor
    rarity decide where the search looks, and equal shares are a fair start.

    Args:
        predictions: Names of the predictions that are fused, two or more.
        fusion: Name of the fusion.
        options: Its options.
        against: Those of the predictions that count against a row.

    Raises:
        ConfigError: Names everything that cannot be used.

    Example:
        >>> space = WeightSpace(("click", "buy", "watch"))
        >>> space.shares(np.array([1 / 9, 0.5])).round(3).tolist()
        [0.667, 0.167, 0.167]
    """

    predictions: Sequence[str]
    fusion: str = "weighted_product"
    options: Mapping[str, Any] = field(default_factory=dict)
    against: Sequence[str] = ()

    def __post_init__(self) -> None:
        mistakes = list(self._mistakes())
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    @property
    def dimensions(self) -> int:
        """Numbers from 0 to 1 that make a point."""
        return len(self.predictions) - 1

    def shares(self, point: Float[np.ndarray, " d"]) -> Float[np.ndarray, " k"]:
        """Shares of a point of the cube; uniform points make uniform shares.

        Breaking a stick: the i-th of k pieces takes `1 - u^(1 / (k - i))` of what is left.
        """
        taken = 1 - np.maximum(point, 0.0) ** (1 / np.arange(len(point), 0, -1))
        left = np.cumprod(np.r_[1.0, 1 - taken])
        shares: np.ndarray = left * np.r_[taken, 1.0]
        return shares

    @property
    def equal(self) -> Float[np.ndarray, " d"]:
        """The point of equal shares."""
        count = np.arange(self.dimensions, 0, -1)
        return (1 - 1 / (count + 1)) ** count

    def terms(self, held_out: HeldOut) -> Float[np.ndarray, "n k"]:
        """Terms of all rows.

        Raises:
            DataError: If a prediction is absent.
        """
        probe = self.with_weights(np.ones(len(self.predictions)))
        probe._check(held_out.predictions)
        columns = {name: np.asarray(held_out.predictions[name], np.float64).copy() for name in self.predictions}
        return np.stack([probe.term(name, torch.from_numpy(column)).numpy() for name, column in columns.items()], axis=1)

    def weights(self, point: Float[np.ndarray, " d"], spread: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        """Weights of a point, normalised: their absolute values sum to 1."""
        signs = np.array([-1.0 if name in self.against else 1.0 for name in self.predictions])
        weights = signs * self.shares(point) / spread
        normalised: np.ndarray = weights / np.abs(weights).sum()
        return normalised

    def with_weights(self, weights: Sequence[float] | Float[np.ndarray, " k"]) -> Fusion:
        """The fusion of these weights."""
        from polytask.fusion import FUSIONS  # noqa: PLC0415 - the registry imports the members

        named = {name: float(weight) for name, weight in zip(self.predictions, weights, strict=True)}
        return FUSIONS[self.fusion](named, **self.options)

    def _mistakes(self) -> list[str]:
        from polytask.fusion import FUSIONS  # noqa: PLC0415

        found = []
        if len(set(self.predictions)) < max(2, len(self.predictions)):
            found.append(message("A search needs two predictions or more, each once.", received=list(self.predictions)))
        found += [
            message("What counts against a row must be fused.", received=repr(name), way_out=nearest(name, self.predictions))
            for name in self.against
            if name not in self.predictions
        ]
        if self.fusion not in FUSIONS:
            return [
                *found,
                message("There is no such fusion.", received=repr(self.fusion), way_out=nearest(self.fusion, FUSIONS)),
            ]
        if self.against and not FUSIONS[self.fusion].signed:
            received = ", ".join(map(repr, self.against))
            found.append(message(f"{self.fusion!r} rises with every prediction.", received=f"against a row: {received}"))
        try:
            self.with_weights([1.0] * len(self.predictions))
        except (ConfigError, TypeError) as error:
            found.append(str(error))
        return found


def spreads(terms: Float[np.ndarray, "n k"], names: Sequence[str]) -> Float[np.ndarray, " k"]:
    """Standard deviation of every term.

    Raises:
        DataError: Names the predictions that are the same on all rows.
    """
    found: np.ndarray = terms.std(axis=0)
    flat = [name for name, spread, size in zip(names, found, np.abs(terms).max(axis=0), strict=True) if spread <= 1e-12 * size]
    if flat:
        way_out = "Leave them out: they order nothing."
        raise DataError(message("Predictions must differ between rows.", received=", ".join(map(repr, flat)), way_out=way_out))
    return found
