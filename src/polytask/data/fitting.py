"""What one pass over a table gathers of each feature."""

from abc import ABC, abstractmethod
from typing import final

import numpy as np
import pyarrow as pa

from polytask.data.bins import boundaries, robust_scale
from polytask.data.distinct import Distinct, distinct
from polytask.data.fields import CategoricalField, Field, MultiValuedField, NumericField, scaled, split_weights
from polytask.data.numbers import as_numbers, refuse_infinite
from polytask.data.quantiles import QuantileSketch
from polytask.data.schema import Categorical, Feature, MultiValued, Numeric
from polytask.data.sketches import MAX_DISTINCT, CategoryCounts, Moments
from polytask.data.values import split_values, value_lists
from polytask.data.vocabulary import Vocabulary, fit_vocabulary
from polytask.errors import Where


class FeatureFit(ABC):
    """Fits one field in one pass: `update` with each batch, then `field`."""

    @abstractmethod
    def update(self, batch: pa.RecordBatch, where: Where) -> None:
        """Adds the rows of a batch.

        Raises:
            DataError: If the column cannot be what it was declared.
        """

    @abstractmethod
    def field(self) -> Field:
        """The fitted field."""


def start_fit(feature: Feature) -> FeatureFit:
    """A fit of this feature that has seen no row."""
    if isinstance(feature, Numeric):
        return _NumericFit(feature)
    return _CategoricalFit(feature) if isinstance(feature, Categorical) else _MultiValuedFit(feature)


@final
class _CategoricalFit(FeatureFit):
    def __init__(self, feature: Categorical) -> None:
        self._feature = feature
        self._vocabulary = _VocabularyFit(feature)

    def update(self, batch: pa.RecordBatch, where: Where) -> None:  # noqa: ARG002 - no row of a category is out of range
        self._vocabulary.update(distinct(batch.column(self._feature.name), self._feature.name))

    def field(self) -> CategoricalField:
        return CategoricalField(self._feature.name, self._vocabulary.vocabulary())


@final
class _NumericFit(FeatureFit):
    def __init__(self, feature: Numeric) -> None:
        self._feature = feature
        self._sketch = QuantileSketch()
        self._moments = Moments()

    def update(self, batch: pa.RecordBatch, where: Where) -> None:
        values = as_numbers(batch.column(self._feature.name), self._feature.name, where)
        refuse_infinite(values, self._feature.name, where)
        missing = np.isnan(values)
        values = values[~missing] if missing.any() else values
        self._sketch.add(values)
        self._moments = self._moments.joined(Moments.of(values))

    def field(self) -> NumericField:
        center, scale = robust_scale(self._sketch.distribution(), self._moments.deviation)
        # Values are scaled to float32, so boundaries must differ there.
        edges = np.unique(scaled(boundaries(self._sketch, self._feature.bins), center, scale))
        if len(edges) < 2:
            edges = np.array([0.0, 1.0], np.float32)
        return NumericField(self._feature.name, center, scale, tuple(edges.astype(np.float64).tolist()))


@final
class _MultiValuedFit(FeatureFit):
    def __init__(self, feature: MultiValued) -> None:
        self._feature = feature
        self._vocabulary = _VocabularyFit(feature)

    def update(self, batch: pa.RecordBatch, where: Where) -> None:
        feature = self._feature
        column = split_values(batch.column(feature.name), feature.name, feature.separator)
        weights = None if feature.weights is None else batch.column(feature.weights)
        names = (feature.name, feature.weights or "")
        values = value_lists(column, weights, names=names, where=where, max_length=feature.max_length).values
        if feature.weight_separator is not None:
            values, _ = split_weights(values, feature.weight_separator, feature.name)
        self._vocabulary.update(distinct(values, feature.name))

    def field(self) -> MultiValuedField:
        feature = self._feature
        return MultiValuedField(
            feature.name,
            self._vocabulary.vocabulary(),
            weights=feature.weights,
            separator=feature.separator,
            weight_separator=feature.weight_separator,
            max_length=feature.max_length,
            pooling=feature.pooling,
        )


@final
class _VocabularyFit:
    """Counts values for a dictionary; for buckets only learns of what kind they are."""

    def __init__(self, feature: Categorical | MultiValued) -> None:
        self._feature = feature
        self._counts = CategoryCounts(max(MAX_DISTINCT, 2 * (feature.max_size or 0)))
        self._kinds: set[str] = set()

    def update(self, found: Distinct) -> None:
        if self._feature.buckets is None:
            self._counts.add(found.values, found.counts())
        elif found.values.null_count < len(found.values):
            self._kinds.add(found.kind)

    def vocabulary(self) -> Vocabulary:
        if self._feature.buckets is None:
            return fit_vocabulary(self._counts, min_count=self._feature.min_count, max_size=self._feature.max_size)
        # Floats that are whole in all batches count as integers; in some only, as numbers.
        kind = "number" if "number" in self._kinds else next(iter(self._kinds), "text")
        return Vocabulary(kind, buckets=self._feature.buckets)
