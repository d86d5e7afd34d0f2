import numpy as np
import pyarrow as pa
import pytest

from polytask.biases import Counts, PositionModel, em_step, estimate_examination, examination_of_random, fit_position_model
from polytask.data.synthetic import Positions
from polytask.errors import ConfigError, DataError


def simulated(rows=400_000, items=50, seed=0):
    """Items of higher relevance stand higher: click rates by position are no examination."""
    rng = np.random.default_rng(seed)
    examination, relevance = np.array([0.9, 0.6, 0.45, 0.2]), rng.uniform(0.05, 0.8, items)
    item = rng.integers(items, size=rows)
    position = np.clip(np.floor(4 * (1 - relevance[item]) + rng.normal(0, 1, rows)), 0, 3).astype(int)
    click = (rng.random(rows) < examination[position] * relevance[item]).astype(float)
    return position, item, click, examination, relevance


def test_one_step_by_hand():
    """Two positions, two items; item 0 at both, item 1 at position 1 alone."""
    counts = Counts(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([10.0, 4.0, 6.0]), np.array([5.0, 1.0, 0.0]))
    found = em_step(counts, PositionModel(np.array([0.8, 0.5]), np.array([0.6, 0.2])))
    # position 0, item 0: e r = .48, so P(examined | no click) = .8 * .4 / .52 and P(relevant | no click) = .6 * .2 / .52
    # position 1, item 0: e r = .30: .5 * .4 / .7 and .6 * .5 / .7; position 1, item 1: e r = .1: .5 * .8 / .9 and .2 * .5 / .9
    e0 = (5 + 5 * 0.32 / 0.52) / 10
    e1 = (1 + 3 * 0.2 / 0.7 + 6 * 0.4 / 0.9) / 10
    r0 = (6 + 5 * 0.12 / 0.52 + 3 * 0.3 / 0.7) / 14
    r1 = (6 * 0.1 / 0.9) / 6
    assert found.examination == pytest.approx([e0, e1])
    assert found.relevance == pytest.approx([r0, r1])
    assert found.steps == 1


def log_likelihood(counts, model):
    p = model.examination[counts.position] * model.relevance[counts.item]
    return float(np.sum(counts.clicks * np.log(p) + (counts.shown - counts.clicks) * np.log1p(-p)))


def test_a_step_never_makes_the_log_less_likely_and_the_fit_is_where_none_helps():
    position, item, click, *_ = simulated(rows=20_000)
    counts, rng = Counts.of(position, item, click), np.random.default_rng(1)
    model = PositionModel(rng.uniform(0.1, 0.9, 4), rng.uniform(0.1, 0.9, 50))
    found = []
    for _ in range(30):
        found.append(log_likelihood(counts, model))
        model = em_step(counts, model)
    assert (np.diff(found) > 0).all()
    best = fit_position_model(counts, tolerance=1e-9)
    assert log_likelihood(counts, best) > found[-1]
    again = em_step(counts, best)
    assert again.examination == pytest.approx(best.examination, rel=1e-6)


def test_a_known_curve_is_recovered_from_a_ranked_log():
    position, item, click, examination, relevance = simulated()
    found = fit_position_model(Counts.of(position, item, click))
    assert found.examination / found.examination[0] == pytest.approx(examination / examination[0], rel=0.03)
    assert np.corrcoef(found.relevance, relevance)[0, 1] > 0.99
    rates = np.bincount(position, click) / np.bincount(position)
    assert abs(rates[3] / rates[0] / (examination[3] / examination[0]) - 1) > 0.5  # what click rates alone would say


def test_rows_alike_are_one_line():
    counts = Counts.of(np.array([1, 0, 1, 1]), np.array([9, 9, 4, 9]), np.array([1.0, 0.0, 1.0, 0.0]))
    lines = set(zip(*(part.tolist() for part in counts), strict=True))
    assert lines == {(1, 0, 1.0, 1.0), (0, 1, 1.0, 0.0), (1, 1, 2.0, 1.0)}


def test_random_traffic_gives_ratios_of_click_rates():
    position = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    click = np.array([1.0, 1, 0, 1, 0, 1, 0, 1, 1])
    random = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0], bool)
    assert examination_of_random(position, click, random).tolist() == pytest.approx([2 / 3, 0.5])


@pytest.mark.parametrize("how", [{"same": ["query_id", "item_id"]}, {"random": "randomised"}])
def test_the_curve_of_ranked_lists_by_device(how):
    world = Positions(seed=2, num_queries=40, num_items=60, randomised=0.5)
    found = estimate_examination(world.table(0, 1_000_000), click="click", columns=["position", "device"], **how)
    assert found.column_names == ["position", "device", "shown", "clicks", "examination"]
    assert found["shown"].to_numpy().sum() == 1_000_000
    for device, true in zip(("phone", "tablet", "desktop"), world.examination_curve, strict=True):
        lines = found.filter(pa.compute.equal(found["device"], device)).sort_by("position")
        assert lines["position"].to_pylist() == list(range(1, 11))
        curve = lines["examination"].to_numpy()
        assert curve[0] == 1
        error = np.sqrt(2 / lines["clicks"].to_numpy() + 2 / lines["clicks"][0].as_py())  # the random rows are half of them
        assert (np.abs(curve / true - 1) < 3.5 * error).all()
        assert error.max() < (0.1 if device == "tablet" else 0.05)


def test_a_log_is_asked_for_one_way_and_its_columns():
    log = pa.table({"position": [1], "click": [1], "item": [3], "random": [1]})
    for how in ({}, {"same": ["item"], "random": "random"}):
        with pytest.raises(ConfigError, match="`same` or from `random`"):
            estimate_examination(log, click="click", columns=["position"], **how)
    with pytest.raises(DataError, match="Did you mean 'position'"):
        estimate_examination(log, click="click", columns=["positon"], random="random")
