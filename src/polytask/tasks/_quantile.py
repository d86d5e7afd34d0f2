"""A real number: its quantiles."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import NormalDist
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from polytask.errors import ConfigError, DataError, Where, message, row_of
from polytask.losses import pinball
from polytask.tasks._base import FITTED, Task
from polytask.tasks._domain import real_labels, softplus_inverse
from polytask.tasks._standard import in_float64, moments, own_scale, own_scale_labels, standardised
from polytask.tasks._summary import LabelSummary


@final
@dataclass(frozen=True, kw_only=True)
class Quantile(Task):
    """A real number, of which quantiles are predicted: an interval for a delivery time, the median of a price.

    The first output is the quantile nearest the median, the softplus of each further one the distance to the next: quantiles
    never cross. Labels are standardised inside; the loss is the mean pinball loss in standard deviations.

    Where the mean is wanted prefer `Regression`. It adds one output a level.

    Args:
        levels: Share of labels below each quantile, rising, between 0 and 1.
        mean: Mean of the labels.
        scale: Standard deviation of the labels.

    Raises:
        ConfigError: If the levels do not rise from above 0 to below 1.

    Example:
        >>> Quantile("minutes", levels=(0.25, 0.75)).predict(torch.tensor([[1.0, 0.0]])).tolist()
        [[1.0, 1.6931471805599454]]
    """

    kind: ClassVar[str] = "quantile"
    default_metrics: ClassVar[tuple[str, ...]] = ("pinball_loss", "interval_coverage")

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    mean: float = field(default=0.0, metadata=FITTED)
    scale: float = field(default=1.0, metadata=FITTED)

    @property
    def out_features(self) -> int:
        """One a level."""
        return len(self.levels)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The levels in percent, as in q97.5."""
        return tuple(f"q{100 * level:.6g}" for level in self.levels)

    def fitted(self, summary: LabelSummary) -> "Quantile":
        """The task with its labels' mean and scale."""
        self._demand(summary, text=False)
        mean, scale = moments(summary)
        return replace(self, mean=mean, scale=scale)

    def initial_bias(self) -> tuple[float, ...]:
        """Quantiles of the normal distribution with the labels' mean and scale."""
        normal = [NormalDist().inv_cdf(level) for level in self.levels]
        return (normal[self._middle()], *(softplus_inverse(above - below) for below, above in pairwise(normal)))

    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """Standard deviations from the mean; NaN where missing."""
        return standardised(real_labels(labels, self.label, where, self._refusal), self.mean, self.scale)

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Labels on their own scale."""
        return own_scale_labels(labels, self.mean, self.scale)

    def row_loss(self, output: Float[Tensor, "n q"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Mean pinball loss over levels."""
        return pinball(self._quantiles(output), label, self.levels)

    def predict(self, output: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """Quantiles on the label's own scale, rising."""
        return own_scale(self._quantiles(in_float64(output)), self.mean, self.scale)

    def _quantiles(self, output: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """Distances are added up outwards from the middle: each quantile is its neighbour plus something not negative."""
        gaps = functional.softplus(output[:, 1:]).unbind(1)
        middle = self._middle()
        quantiles = [output[:, 0]]
        for gap in gaps[middle:]:
            quantiles.append(quantiles[-1] + gap)
        for gap in reversed(gaps[:middle]):
            quantiles.insert(0, quantiles[0] - gap)
        return torch.stack(quantiles, dim=1)

    def _middle(self) -> int:
        distances = [abs(level - 0.5) for level in self.levels]
        return distances.index(min(distances))

    def _check_declared(self) -> None:
        rising = all(below < above for below, above in pairwise((0.0, *self.levels, 1.0)))
        if not self.levels or not rising:
            expected = f"The levels of task {self.name!r} must rise from above 0 to below 1."
            raise ConfigError(message(expected, received=self.levels, way_out="For example (0.1, 0.5, 0.9)."))
        if not self.scale > 0:
            raise ConfigError(message(f"The scale of task {self.name!r} must be above 0.", received=self.scale))

    def _refusal(self, received: str) -> DataError:
        return self._outside("a finite number", received, "Mend the label, or leave it empty.")
