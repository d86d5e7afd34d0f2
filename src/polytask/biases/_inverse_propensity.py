"""Clicks count the more, the more rarely their position is looked at."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, cast, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.batch import Batch, Features, Labels
from polytask.biases._base import Bias, Corrected, Curve, Seen, categorical_field, known_values
from polytask.biases._examination import Counts, examination_of_random, fit_position_model
from polytask.encoders import FittedColumns
from polytask.errors import ConfigError, DataError, PolytaskError, message

Table = Sequence[float] | Mapping[str, Sequence[float]]
"""Examination of each position in rising order; of each device by name where it differs."""


@final
class InversePropensity(Bias):
    """Each click counts `1 / examination` clicks: what it would stand for if every position were looked at alike.

    `loss = mean_i [w_i y_i l(1) + (1 - w_i y_i) l(0)]` with `w = 1 / max(e, clip)`, divided by its mean over the clicks of the
    batch; e is the examination of the row's position. Expected over looks it is the loss on relevance, whatever the ranking was.
    So normalised, labels keep their mean: the score is on the scale of clicks at the positions of the log.

    Prefer it where examination is known better than a model can learn it beside relevance, as with randomised traffic. Not where
    deep positions have few clicks, which then carry most of the loss: a `ShallowTower` has less variance. Nor with balancers that
    take the logarithm of a loss: this one may be negative, where the model is sure of a click that counts many times. Of spaces
    it goes with `clicked` only where another task is given a named one: the others read clicks off the labels.

    Cost: nothing in a step; one pass over the training rows before training, where examination is estimated.

    Source: Joachims et al., WSDM 2017, "Unbiased Learning-to-Rank with Biased Feedback"; for losses of single rows Saito et al.,
    WSDM 2020, "Unbiased Recommender Learning from Missing-Not-At-Random Implicit Feedback". Estimation from the log: Wang et
    al., WSDM 2018, "Position Bias Estimation for Unbiased Learning to Rank in Personal Search".

    Differs: self-normalised by the clicks of each batch. Estimation is by things that have one relevance, not by regression: a
    `ShallowTower` with link "product" is that, in one training.

    Args:
        preprocessing: Fitted columns, the bias columns among the categorical ones.
        columns: Bias columns, the position first.
        tasks: Names of the binary tasks whose labels depend on them. Examination is estimated from the first of them.
        known: Those of `columns` that are known when rows are scored, such as the device: the encoder reads them as well.
        examination: Of each position in rising order, or such a list for each value of the second column.
        random: Column that is 1 where the order was random: examination is then the ratio of click rates there.
        same: Columns that together name what has one relevance, such as query and item: examination is then estimated by
            expectation-maximisation.
        clip: Least examination, relative to the first position's; rarer looks count as often as that.

    Raises:
        ConfigError: If a column is unknown, not exactly one of `examination`, `random` and `same` is given, a table does not
            fit the positions, or `clip` is not in (0, 1].

    Example:
        >>> from polytask.data import CategoricalField, Preprocessing
        >>> from polytask.data.vocabulary import Vocabulary
        >>> columns = Preprocessing((CategoricalField("position", Vocabulary("integer", (1, 2))),), (), (), ())
        >>> bias = InversePropensity(columns, columns=["position"], tasks=["click"], examination=[1.0, 0.5])
        >>> [line["examination"] for line in bias.curve()]
        [1.0, 0.5]
    """

    needs_fit: ClassVar[bool] = True
    changes_labels: ClassVar[bool] = True

    def __init__(
        self,
        preprocessing: FittedColumns,
        *,
        columns: Sequence[str],
        tasks: Sequence[str],
        known: Sequence[str] = (),
        examination: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
        random: str | None = None,
        same: Sequence[str] = (),
        clip: float = 0.05,
    ) -> None:
        super().__init__(preprocessing, columns=columns, tasks=tasks, known=known, others=[random] if random else [])
        if (examination is not None) + (random is not None) + bool(same) != 1:
            received = f"examination={examination!r}, random={random!r}, same={list(same)}"
            way_out = "A table, a column of randomised rows, or columns that name one relevance."
            expected = "Inverse propensity needs exactly one of `examination`, `random` and `same`."
            raise ConfigError(message(expected, received=received, way_out=way_out))
        if not 0 < clip <= 1:
            raise ConfigError(message("`clip` is an examination in (0, 1].", received=clip))
        self.clip, self.random, self.same = clip, random, tuple(same)
        grouping = [categorical_field(preprocessing, name) for name in ([random] if random else same)]
        names = [field.name for field in preprocessing.categorical]
        self._groups = [(names.index(field.name), field.size) for field in grouping]
        self._one = next((id_ for id_, value in known_values(grouping[0]) if value in (1, "1")), -1) if random else -1
        self.register_buffer("examination", torch.ones(math.prod(self.sizes)))
        self.examination: Tensor
        self.ready = examination is not None
        self.register_load_state_dict_post_hook(_now_ready)  # type: ignore[no-untyped-call]
        if examination is not None:
            self._declare(examination)

    def correct(self, by_task: Mapping[str, Float[Tensor, "n _"]], shown: Features, shared: Float[Tensor, "k n *h"]) -> Corrected:  # noqa: ARG002
        """Outputs as they are, and what a click of each row counts."""
        if not self.ready:
            way_out = "Call `model.bias.fit(batches)` with the training rows; `polytask train` does."
            raise PolytaskError(
                message("Examination must be estimated before training.", received="no estimate", way_out=way_out)
            )
        return Corrected(dict(by_task), weights=1 / self.examination[self.cells(shown)].clamp_min(self.clip))

    def labels(self, labels: Labels, weights: Float[Tensor, " n"] | None) -> Labels:
        """Clicks as often as they count, their sum kept."""
        if weights is None:
            return labels
        rows = labels.observed if labels.weight is None else labels.observed * labels.weight
        clicks = labels.value * rows
        mean = (clicks * weights).sum() / clicks.sum().clamp_min(torch.finfo(clicks.dtype).tiny)
        return labels._replace(value=labels.value * weights / torch.where(mean > 0, mean, 1.0))

    def fit(self, batches: Iterable[Batch]) -> None:
        """Estimates examination; nothing is to be done where it was declared.

        Raises:
            DataError: If there is no click to estimate it from.
        """
        if not self._groups:
            return
        parts = [self._read(batch) for batch in batches]
        cell, group, click = (np.concatenate([part[place] for part in parts]) for place in range(3))
        rows = group == self._one if self.random else np.ones(len(cell), bool)
        if not click[rows].sum():
            way_out = f"Is {self.random!r} 1 where the order was random?" if self.random else ""
            raise DataError(message("Examination needs clicks.", received=f"none in {rows.sum()} rows", way_out=way_out))
        found, place = np.unique(cell, return_inverse=True)
        if self.random:
            rate = examination_of_random(place, click, rows)
        else:
            rate = fit_position_model(Counts.of(place, group, click)).examination
        self._set(dict(zip(found.tolist(), rate.tolist(), strict=True)))

    def curve(self, seen: Seen | None = None) -> Curve:  # noqa: ARG002
        """Examination by position; the same for all named tasks."""
        rate = self.examination.tolist()
        return [
            {"task": task, **about, "logit": None, "examination": rate[cell] / rate[first]}
            for task in self.tasks
            for cell, first, about in self.lines()
        ]

    def _read(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cell, ids of what has one relevance (or of random order) as one number, and click of the labelled rows."""
        labels, shown = batch.labels[self.tasks[0]], batch.to(self.places.device).features
        group = torch.zeros_like(shown.categorical[:, 0], dtype=torch.int64)
        for place, size in self._groups:
            group = group * size + shown.categorical[:, place]
        rows = labels.observed.cpu().numpy()
        cell, group, click = (part.cpu().numpy()[rows] for part in (self.cells(shown), group, labels.value))
        return cell, group, click

    def _set(self, rate: Mapping[int, float]) -> None:
        """Examination relative to the first position of the same device; 1 where nothing was shown."""
        for cell, first, _ in self.lines():
            if cell in rate and rate.get(first, 0) > 0:
                self.examination[cell] = rate[cell] / rate[first]
        self.ready = True

    def _declare(self, table: Table) -> None:
        lines, position = self.lines(), self.columns[0]
        positions = list(dict.fromkeys(about[position] for _, _, about in lines))
        for cell, _, about in lines:
            rates = table if not isinstance(table, Mapping) else table.get(str(about.get(self.columns[-1])), ())
            if len(rates) != len(positions) or not all(0 < rate <= 1 for rate in rates):
                expected = f"Needs an examination in (0, 1] for each of the {len(positions)} positions {positions[:20]}."
                way_out = "In rising order of position; by device where it differs."
                raise ConfigError(message(expected, received=f"{list(rates)} for {about}", way_out=way_out))
            self.examination[cell] = rates[positions.index(about[position])]


def _now_ready(module: nn.Module, keys: object) -> None:  # noqa: ARG001 - torch calls it with both
    cast("InversePropensity", module).ready = True
