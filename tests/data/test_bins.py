"""Boundaries follow the mass of a column and are not drowned by its spikes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data.bins import boundaries, robust_scale
from polytask.data.quantiles import QuantileSketch


def sketched(values):
    sketch = QuantileSketch()
    sketch.add(np.asarray(values, np.float64))
    return sketch


def test_a_zero_inflated_column_has_bins_for_what_is_not_zero():
    random = np.random.default_rng(0)
    gains = np.where(random.random(100_000) < 0.96, 0.0, random.choice(np.geomspace(100, 99_999, 130).round(), 100_000))
    naive = np.unique(np.quantile(gains, np.linspace(0, 1, 49)))
    found = boundaries(sketched(gains), 48)
    assert len(naive) <= 4  # what quantiles alone leave
    assert len(found) == 49
    assert np.isin(found, gains).all()
    # Each bin of the part that is not zero holds about its share.
    counts = np.histogram(gains[gains > 0], found[1:])[0]
    assert counts.max() < 3 * counts.mean()
    # The smallest value beside the spike is a boundary, so that a step at zero can be told from a slope.
    assert found[:2].tolist() == [0.0, gains[gains > 0].min()]
    assert found[-1] == gains.max()


def test_a_spike_inside_a_column_gets_its_neighbours():
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(size=8000).round(3), np.full(4000, 0.5)])
    found = boundaries(sketched(values), 24)
    place = np.flatnonzero(found == 0.5)[0]
    around = np.unique(values)
    middle = np.flatnonzero(around == 0.5)[0]
    assert found[place - 1 : place + 2].tolist() == around[middle - 1 : middle + 2].tolist()


def test_a_smooth_column_has_its_quantiles():
    random = np.random.default_rng(2)
    assert boundaries(sketched(random.permutation(10_001)), 4).tolist() == [0.0, 2500.0, 5000.0, 7500.0, 10_000.0]
    # Where more values differ than are counted exactly, the inner ones are near, the ends exact.
    found = boundaries(sketched(random.permutation(100_001)), 4)
    assert found.tolist() == pytest.approx([0.0, 25_000.0, 50_000.0, 75_000.0, 100_000.0], abs=50)
    assert found[[0, -1]].tolist() == [0.0, 100_000.0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-20, 60), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 300))
def test_boundaries_are_values_and_not_too_many(values, bins, spike):
    values = [*values, *[7] * spike]
    found = boundaries(sketched(values), bins)
    assert (np.diff(found) > 0).all()
    assert len(found) <= bins + 1
    assert {min(values), max(values)} <= set(found.tolist())
    assert set(found.tolist()) <= set(map(float, values))
    if len(set(values)) <= bins + 1:
        assert found.tolist() == sorted(map(float, set(values)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(101.0), (50.0, 50.0)),
        ([0.0] * 96 + [10.0, 20.0, 20.0, 30.0], (0.0, 2.5)),  # the range of the four others: 17.5 to 22.5 less their spread
        ([5.0] * 9 + [6.0], (5.0, 0.3)),  # one other value: the standard deviation
        ([5.0] * 9, (5.0, 1.0)),
        ([], (0.0, 1.0)),
    ],
)
def test_the_scale_falls_back_where_half_of_the_rows_are_equal(values, expected):
    values = np.asarray(values, np.float64)
    center, scale = robust_scale(sketched(values).distribution(), float(values.std()) if len(values) else 0.0)
    rest = values[values != 0.0] if len(values) == 100 else values
    if len(values) == 100:
        expected = (0.0, np.quantile(rest, 0.75) - np.quantile(rest, 0.25))
    assert (center, scale) == pytest.approx(expected)
