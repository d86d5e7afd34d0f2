"""One of several levels that have an order."""

import math
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import DataError, Where, row_of
from polytask.losses import cumulative_link, thresholds
from polytask.tasks._base import FITTED, Task
from polytask.tasks._column import Value
from polytask.tasks._domain import check_options, placed_labels, refuse_counted, shares, softplus_inverse, tidy, undeclared
from polytask.tasks._summary import LabelSummary


@final
@dataclass(frozen=True, kw_only=True)
class Ordinal(Task):
    """One of several levels that have an order: stars, grades, stages of a disease.

    `P(level <= j) = sigmoid(t_j)`; the first output is a score that lowers every threshold t, the softplus of each further one is
    the gap to the next threshold. So thresholds rise by construction and no probability is negative.

    For classes without an order prefer `Multiclass`; where the distance of levels is known, `Regression`. It adds an output a
    level, less one.

    Source: McCullagh, Regression Models for Ordinal Data (JRSS B 1980), section 2 (proportional odds).
    Differs: the gaps between thresholds may depend on the row; they start at those of the labels' shares.

    Args:
        levels: Values of the label from lowest to highest; those that occur, sorted, where not given. Text has to be declared.
        base_rates: Share of each level among the labels.

    Raises:
        ConfigError: If one level is declared, or a level twice.

    Example:
        >>> task = Ordinal("size", levels=("small", "medium", "large"))
        >>> task.predict(torch.zeros(1, 2))
        tensor([[0.5000, 0.1667, 0.3333]])
    """

    kind: ClassVar[str] = "ordinal"
    default_metrics: ClassVar[tuple[str, ...]] = ("ranked_probability_score", "level_error", "quadratic_kappa")

    levels: tuple[Value, ...] = ()
    base_rates: tuple[float, ...] = field(default=(), metadata=FITTED)

    @property
    def out_features(self) -> int:
        """A score, and a gap for each level but two."""
        return len(self._known()) - 1

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The levels."""
        return tuple(map(str, self._known()))

    def fitted(self, summary: LabelSummary) -> "Ordinal":
        """The task with its levels and their shares."""
        self._demand(summary, text=True)
        if summary.counts is None:
            raise self._refusal(f"more than {summary.max_distinct} distinct values")
        if summary.text and not self.levels:
            received = ", ".join(map(repr, sorted(map(str, summary.counts))[:10]))
            raise self._outside("an order of its levels", received, "Declare `levels` from lowest to highest.")
        levels = self.levels or tidy(summary.counts)
        counts = refuse_counted(summary, levels, self._refusal)
        return replace(self, levels=levels, base_rates=shares(counts))

    def initial_bias(self) -> tuple[float, ...]:
        """Score and gaps that give every level its share."""
        if not self.base_rates:
            return (0.0,) * self.out_features
        below = list(accumulate(self.base_rates))[:-1]
        t = [math.log(share) - math.log(max(1 - share, 1e-12)) for share in below]
        return (-t[0], *(softplus_inverse(above - level) for level, above in pairwise(t)))

    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """Place of the level; NaN where missing."""
        return placed_labels(labels, self._known(), self.label, where, self._refusal)

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Place of the level."""
        return labels

    def row_loss(self, output: Float[Tensor, "n c_minus_1"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Negative log-likelihood of the level."""
        return cumulative_link(output, label)

    def predict(self, output: Float[Tensor, "n c_minus_1"]) -> Float[Tensor, "n c"]:
        """Probability of each level; a product, where the difference of two sigmoids would lose its digits."""
        output = output.float()
        t = thresholds(output)
        one = torch.ones_like(t[:, :1])
        at_most, above = torch.cat([t.sigmoid(), one], dim=1), torch.cat([one, (-t).sigmoid()], dim=1)
        gap = torch.cat([one, output[:, 1:].sigmoid(), one], dim=1)
        return at_most * above * gap

    def expected_level(self, prediction: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
        """Mean place of the level, 0 to c - 1: one number to sort by.

        Example:
            >>> Ordinal("stars", levels=(1, 2, 3)).expected_level(torch.tensor([[0.0, 0.5, 0.5]]))
            tensor([1.5000])
        """
        return prediction @ torch.arange(prediction.shape[1], dtype=prediction.dtype, device=prediction.device)

    def _check_declared(self) -> None:
        check_options(self.name, "levels", self.levels)

    def _known(self) -> tuple[Value, ...]:
        if not self.levels:
            raise undeclared(self.name, "levels")
        return self.levels

    def _refusal(self, received: str) -> DataError:
        wanted = f"one of its levels {list(self.levels)!r}" if self.levels else "one of few values"
        way_out = "Add the level to `levels`, or leave the label empty." if self.levels else "Declare the task regression."
        return self._outside(wanted, received, way_out)
