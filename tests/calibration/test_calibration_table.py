import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from polytask.calibration import calibration_table, slices_of


def test_rows_of_each_slice_by_hand():
    label = np.array([1.0, 0.0, 0.0, math.nan, 1.0, 0.0])
    prediction = np.array([0.5, 0.3, 0.4, 0.9, 0.6, 0.2])
    slices = np.array(["app", "app", "web", "web", "app", "web"])
    weight = np.array([1.0, 3.0, 1.0, 1.0, 0.0, 1.0])
    app, web = calibration_table(label, prediction, slices, weight)
    assert (app.slice, app.rows, app.observed, app.predicted) == ("app", 2, 0.25, pytest.approx(0.35))
    assert app.ratio == pytest.approx(1.4)
    assert (web.slice, web.rows, web.observed, web.predicted, web.ratio) == ("web", 2, 0.0, pytest.approx(0.3), math.inf)
    assert web.high == math.inf


def test_the_interval_is_that_of_wilson_from_scipy():
    label, prediction = np.r_[np.ones(7), np.zeros(193)], np.full(200, 0.05)
    (row,) = calibration_table(label, prediction, np.full(200, "all"))
    wilson = binomtest(7, 200).proportion_ci(method="wilson")
    assert (row.low, row.high) == (pytest.approx(0.05 / wilson.high), pytest.approx(0.05 / wilson.low))


def test_weights_all_alike_change_nothing_and_unequal_ones_widen():
    random = np.random.default_rng(0)
    label, prediction, slices = (random.uniform(size=500) < 0.2).astype(float), random.uniform(0, 0.4, 500), np.full(500, "a")
    plain = calibration_table(label, prediction, slices)
    assert calibration_table(label, prediction, slices, np.full(500, 7.0))[0][2:] == pytest.approx(plain[0][2:])
    (wide,) = calibration_table(label, prediction, slices, random.exponential(size=500))
    assert wide.high - wide.low > 1.2 * (plain[0].high - plain[0].low)


@pytest.mark.parametrize("amounts", [False, True])
def test_a_perfect_model_is_inside_its_intervals_nearly_always(amounts):
    """Of 2,000 slices of 300 rows about 5 % are off; rates are from 1 to 5 %, and the labels' own chances differ."""
    random, num_slices = np.random.default_rng(1), 2000
    slices = np.arange(num_slices).repeat(300)
    chance = random.uniform(0.01, 0.05, num_slices).repeat(300) * random.uniform(0.5, 1.5, len(slices))
    label = (random.uniform(size=len(slices)) < chance).astype(float)
    if amounts:
        chance, label = chance + 2, label + random.gamma(4.0, 0.5, len(slices))
    off = np.mean([row.off for row in calibration_table(label, chance, slices)])
    assert 0.02 < off < 0.075


def test_a_wrong_slice_is_found():
    random = np.random.default_rng(2)
    slices = np.array(["app", "web"]).repeat(20_000)
    chance = np.full(40_000, 0.03)
    label = (random.uniform(size=40_000) < np.where(slices == "web", 0.02, 0.03)).astype(float)
    found = {row.slice: row for row in calibration_table(label, chance, slices)}
    assert not found["app"].off
    assert found["web"].low > 1.2
    assert found["web"].off


def test_slices_of_few_values_are_those_values():
    assert slices_of(pa.array([2, 1, None, 2])).tolist() == ["2", "1", "(missing)", "2"]
    assert slices_of(pa.chunked_array([["a"], ["b"]])).tolist() == ["a", "b"]
    assert slices_of(pa.array(["a", "b"]).dictionary_encode()).tolist() == ["a", "b"]
    assert slices_of(pa.array([True, False])).tolist() == ["True", "False"]


def test_slices_of_many_numbers_are_tenths():
    values = np.random.default_rng(3).gamma(2.0, 3.0, 1000)
    found = slices_of(pa.array([None, *values]))
    names, counts = np.unique(found[1:], return_counts=True)
    assert found[0] == "(missing)"
    assert counts.tolist() == [100] * 10
    for name in names:
        low, high = map(float, name.split(" to "))
        inside = values[found[1:] == name]
        assert low == pytest.approx(inside.min(), rel=1e-4)
        assert high == pytest.approx(inside.max(), rel=1e-4)


def test_rare_texts_share_a_slice():
    found = slices_of(pa.array([*"aaabbc", *map(str, range(30))]), most=2)
    assert found.tolist() == [*"aaabb", *["(other)"] * 31]
