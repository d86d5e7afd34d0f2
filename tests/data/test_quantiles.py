"""The quantile sketch: exact while few values differ, then within the bound that it states itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data.quantiles import Distribution, QuantileSketch


def sketched(values, size=50_000):
    sketch = QuantileSketch()
    for start in range(0, len(values), size):
        sketch.add(values[start : start + size])
    return sketch


def rank_error(distribution, values):
    """Largest difference between estimated and true number of rows at or below any value."""
    points = np.unique(values)
    true = np.searchsorted(np.sort(values), points, side="right")
    below = np.searchsorted(distribution.values, points, side="right")
    return np.abs(np.append(0, np.cumsum(distribution.counts))[below] - true).max()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200), st.integers(1, 60), st.floats(0, 1))
def test_few_values_are_exact_and_quantiles_are_those_of_numpy(values, size, share):
    values = np.array(values)
    distribution = sketched(values, size).distribution()
    expected, counts = np.unique(values + 0.0, return_counts=True)
    assert distribution.values.tolist() == expected.tolist()
    assert distribution.counts.tolist() == counts.tolist()
    assert distribution.error == 0
    assert distribution.quantile(share) == pytest.approx(np.quantile(values, share), rel=1e-9, abs=1e-6)


STREAMS = {
    "normal": lambda random, n: random.normal(size=n),
    "sorted": lambda random, n: np.sort(random.normal(size=n)),
    "falling": lambda random, n: -np.sort(random.exponential(size=n)),
    "spikes": lambda random, n: np.where(random.random(n) < 0.6, random.integers(0, 3, n), random.normal(size=n)),
    "drifting": lambda random, n: random.normal(size=n) + np.arange(n) / n * 50,
    "saw": lambda random, n: np.arange(n) * 7919.0 % n,
}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("size", [7_777, 65_536])
def test_ranks_hold_within_the_stated_bound(kind, size):
    values = STREAMS[kind](np.random.default_rng(3), 700_001)
    sketch = sketched(values, size)
    distribution = sketch.distribution()
    assert distribution.counts.sum() == len(values)
    assert rank_error(distribution, values) <= distribution.error <= 0.004 * len(values)


def test_the_bound_holds_after_merging_exact_and_sketched_parts():
    random = np.random.default_rng(5)
    parts = [random.normal(size=300_000), random.integers(0, 50, 100_000).astype(float), random.normal(3, 1, 200_000)]
    merged = QuantileSketch()
    for part in parts:
        merged.merge(sketched(part))
    values = np.concatenate(parts)
    distribution = merged.distribution()
    assert merged.count == distribution.counts.sum() == len(values)
    assert rank_error(distribution, values) <= distribution.error <= 0.004 * len(values)


def test_frequent_values_are_found_with_their_counts():
    random = np.random.default_rng(1)
    values = random.normal(size=1_000_000)
    values[:40_000], values[40_000:60_000] = -7.5, 0.25
    random.shuffle(values)
    found, counts = sketched(values).frequent(0.015)
    assert found.tolist() == [-7.5, 0.25]
    assert np.abs(counts - [40_000, 20_000]).max() <= 1_000_000 / 2048


def test_memory_does_not_grow_with_the_rows():
    random = np.random.default_rng(2)
    sketch = QuantileSketch()

    def held():
        arrays = [*sketch._waiting, *(part for level in sketch._levels for part in level), *sketch._frequent]
        return sum(array.nbytes for array in arrays)

    sizes = []
    for _ in range(60):
        sketch.add(random.normal(size=65_536))
        sizes.append(held())
    assert max(sizes) < 1 << 20


def test_the_same_rows_give_the_same_sketch():
    values = np.random.default_rng(4).normal(size=200_000)
    first, second = sketched(values).distribution(), sketched(values, 999).distribution()
    assert np.array_equal(first.values, second.values)
    assert np.array_equal(first.counts, second.counts)


def test_large_whole_numbers_keep_their_differences():
    values = 2.0**40 + np.arange(1000.0)
    assert sketched(values).distribution().quantile(0.5) == 2.0**40 + 499.5


def test_negative_zero_is_zero():
    assert sketched(np.array([-0.0, 0.0, 1.0])).distribution().counts.tolist() == [2, 1]


def test_without_takes_values_out():
    rest = Distribution(np.array([0.0, 1.0, 2.0]), np.array([9, 1, 2])).without(np.array([0.0]))
    assert rest.values.tolist() == [1.0, 2.0]
    assert rest.counts.tolist() == [1, 2]
