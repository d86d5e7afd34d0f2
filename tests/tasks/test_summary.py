import decimal
import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytask.tasks import LabelSummary

numbers = st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), max_size=60)


@given(numbers, st.lists(st.integers(0, 60), max_size=5))
def test_cuts_of_the_stream_do_not_matter(values, cuts):
    whole, parts = LabelSummary("y"), LabelSummary("y")
    whole.update(pa.array(values, pa.float64()))
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    for start, stop in itertools.pairwise(edges):
        parts.update(pa.array(values[start:stop], pa.float64()))
    for name in ("rows", "observed", "counts", "first_rows", "minimum", "maximum"):
        assert getattr(parts, name) == getattr(whole, name)
    present = np.array([value for value in values if value is not None])
    scale = float(np.abs(present).max(initial=1.0))
    if present.size:
        assert parts.mean == pytest.approx(present.mean(), abs=1e-12 * scale)
        assert parts.variance == pytest.approx(present.var(), abs=1e-12 * scale**2)
    else:
        assert math.isnan(parts.mean)
        assert math.isnan(parts.variance)


def test_variance_keeps_its_digits_far_from_zero():
    summary, random = LabelSummary("time"), np.random.default_rng(0)
    values = 1.7e9 + random.normal(0, 0.5, 10_000)
    for part in np.array_split(values, 37):
        summary.update(pa.array(part))
    assert summary.variance == pytest.approx(values.var(), rel=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 0, None, 1]),
        pa.array([1.0, 0.0, math.nan, 1.0]),
        pa.array([1, 0, None, 1], pa.uint8()),
        pa.array(np.array([1, 0, np.nan, 1], dtype=np.float16)),
        pa.array([True, False, None, True]),
        pa.array([decimal.Decimal(1), decimal.Decimal(0), None, decimal.Decimal(1)]),
        pa.array([1, 0, None, 1]).dictionary_encode(),
        pa.chunked_array([[1, 0], [None, 1]]),
    ],
    ids=lambda values: str(values.type),
)
def test_every_type_of_number_reads_the_same(values):
    summary = LabelSummary("y")
    summary.update(values)
    assert (summary.rows, summary.observed, summary.mean) == (4, 3, pytest.approx(2 / 3))
    assert summary.counts == {1: 2, 0: 1}
    assert summary.first_rows == {1: 0, 0: 1}
    assert not summary.text


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_text_is_counted(kind):
    summary = LabelSummary("y")
    summary.update(pa.array(["b", None, "a", "b"]).cast(kind))
    assert summary.text
    assert (summary.observed, summary.counts, summary.first_rows) == (3, {"b": 2, "a": 1}, {"b": 0, "a": 2})
    assert math.isnan(summary.mean)


def test_rows_are_counted_over_updates_and_outside_the_sample_space_they_are_missing():
    summary = LabelSummary("buy")
    summary.update(pa.array([1, 1]), where=np.array([False, True]))
    summary.update(pa.array([0, 0, 1]), where=np.array([False, False, True]))
    assert (summary.rows, summary.observed, summary.counts, summary.first_rows) == (5, 2, {1: 2}, {1: 1})


def test_counting_stops_at_the_bound_but_moments_go_on():
    summary = LabelSummary("y", max_distinct=3)
    summary.update(pa.array([1, 2, 3]))
    assert summary.counts == {1: 1, 2: 1, 3: 1}
    summary.update(pa.array([4]))
    assert summary.counts is None
    assert summary.first_rows is None
    summary.update(pa.array([5]))
    assert (summary.mean, summary.observed) == (3.0, 5)


def test_empty_and_typeless_columns():
    summary = LabelSummary("y")
    summary.update(pa.array([], pa.int64()))
    summary.update(pa.nulls(3))
    assert (summary.rows, summary.observed, summary.counts) == (3, 0, {})


def test_infinite_values_name_column_row_and_value(refused):
    summary = LabelSummary("price")
    summary.update(pa.array([1.0, 2.0]))
    refused(lambda: summary.update(pa.array([3.0, -math.inf])), "'price'", "-inf in row 3", "finite")


def test_other_types_are_refused_by_name(refused):
    refused(lambda: LabelSummary("when").update(pa.array([0], pa.date32())), "'when'", "date32")


@given(numbers, st.integers(0, 60))
def test_logarithms_of_amounts_do_not_depend_on_cuts(values, cut):
    summary = LabelSummary("y")
    summary.update(pa.array(values[:cut], pa.float64()))
    summary.update(pa.array(values[cut:], pa.float64()))
    logarithms = np.log([value for value in values if value is not None and value > 0])
    assert summary.positives == logarithms.size
    if logarithms.size:
        assert summary.log_mean == pytest.approx(logarithms.mean(), abs=1e-9)
        assert summary.log_variance == pytest.approx(logarithms.var(), abs=1e-7)
    else:
        assert math.isnan(summary.log_mean)
        assert math.isnan(summary.log_variance)
