"""Category counts and moments: exact while they fit, bounded error after, the same for any order of merging."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data.distinct import distinct
from polytask.data.sketches import CategoryCounts, Moments

streams = st.lists(st.lists(st.integers(-5, 30), max_size=40), max_size=12)


def counted(batches, max_distinct=1000):
    counts = CategoryCounts(max_distinct)
    for batch in batches:
        found = distinct(pa.array(batch, pa.int64()), "x")
        counts.add(found.values, found.counts())
        counts._settle()  # as if much had come in between
    return counts


@settings(max_examples=60, deadline=None)
@given(streams)
def test_counts_are_exact_and_ordered_while_they_fit(batches):
    counts = counted(batches)
    values, numbers = counts.result()
    truth = Counter(value for batch in batches for value in batch)
    expected = sorted(truth.items(), key=lambda item: (-item[1], item[0]))
    assert list(zip(values.to_pylist(), numbers.tolist(), strict=True)) == expected
    assert counts.error == 0


@settings(max_examples=100, deadline=None)
@given(streams, st.integers(1, 6))
def test_beyond_the_bound_counts_are_too_low_by_at_most_the_error(batches, bound):
    counts = counted(batches, bound)
    values, numbers = counts.result()
    truth = Counter(value for batch in batches for value in batch)
    assert len(values) <= bound
    assert counts.error <= sum(truth.values()) / (bound + 1)
    kept = dict(zip(values.to_pylist(), numbers.tolist(), strict=True))
    for value, number in truth.items():
        assert number - counts.error <= kept.get(value, 0) <= number


@settings(max_examples=60, deadline=None)
@given(streams, st.integers(0, 12), st.integers(2, 1000))
def test_merged_parts_keep_the_bound(batches, cut, bound):
    merged = counted(batches[:cut], bound)
    merged.merge(counted(batches[cut:], bound))
    values, numbers = merged.result()
    truth = Counter(value for batch in batches for value in batch)
    kept = dict(zip(values.to_pylist(), numbers.tolist(), strict=True))
    assert all(number - merged.error <= kept.get(value, 0) <= number for value, number in truth.items())
    assert merged.error <= sum(truth.values()) / (bound + 1)


def test_memory_is_bounded_for_endless_distinct_values():
    counts = CategoryCounts(10_000)
    for start in range(0, 3_000_000, 60_000):
        fresh = np.concatenate([np.arange(start, start + 50_000), np.full(10_000, -1)])
        found = distinct(pa.array(fresh), "x")
        counts.add(found.values, found.counts())
        assert sum(len(values) for values, _ in counts._parts) <= 10_000 + (1 << 18) + 60_000
    values, numbers = counts.result()
    assert values[0].as_py() == -1
    assert 500_000 - counts.error <= numbers[0] <= 500_000
    assert len(values) <= 10_000


def test_whole_floats_and_others_become_one_kind():
    counts = counted([])
    for batch in ([1.0, 2.0, 2.0], [2.5, None, 2.0]):
        found = distinct(pa.array(batch), "x")
        counts.add(found.values, found.counts())
    values, numbers = counts.result()
    assert values.to_pylist() == [2.0, 1.0, 2.5]
    assert numbers.tolist() == [3, 1, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.integers(0, 50), st.sampled_from([0.0, 1e9]))
def test_moments_do_not_depend_on_the_cut_nor_on_the_offset(values, cut, offset):
    values = np.array(values) + offset
    joined = Moments.of(values[:cut]).joined(Moments.of(values[cut:]))
    assert joined.count == len(values)
    assert joined.mean == pytest.approx(values.mean(), rel=1e-12, abs=1e-9)
    assert joined.deviation == pytest.approx(values.std(), rel=1e-6, abs=1e-6)
