import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from polytask.data.synthetic import GENERATORS, Positions
from polytask.errors import ConfigError

ROWS = 400_000


def column(table, name):
    return table[name].to_numpy()


@pytest.fixture(scope="module")
def world():
    return Positions(seed=3, randomised=0.25, examination={"desktop": 0.2})


@pytest.fixture(scope="module")
def log(world):
    return world.table(0, ROWS)


@pytest.fixture(scope="module")
def truth(world):
    return world.truth(0, ROWS)


def test_rows_do_not_depend_on_how_they_are_cut(tmp_path):
    small = Positions(seed=1, num_positions=7, num_queries=20)
    whole, truth = small.table(0, 40_000), small.truth(0, 40_000)
    for chunk in (900, 16_001, 40_000):
        small.write(tmp_path / "log.parquet", 33_100, start=900, truth=tmp_path / "truth.parquet", chunk=chunk)
        assert pq.read_table(tmp_path / "log.parquet").equals(whole.slice(900, 33_100))
        assert pq.read_table(tmp_path / "truth.parquet").equals(truth.slice(900, 33_100))


def test_seed_decides_everything():
    first, again, other = (Positions(seed=seed, num_queries=30).table(10, 500) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_clicks_follow_examination_times_relevance(log, truth):
    p, y = column(truth, "true_click"), column(log, "click")
    assert np.array_equal(p, column(truth, "true_examination") * column(truth, "true_relevance"))
    for part in np.array_split(np.argsort(p), 8):
        error = (y[part].mean() - p[part].mean()) / math.sqrt(np.mean(p[part] * (1 - p[part])) / len(part))
        assert abs(error) < 4


def test_examination_is_that_of_the_device_and_falls_from_the_first_position(log, truth):
    for device, decay in (("phone", 1.0), ("tablet", 0.7), ("desktop", 0.2)):
        rows = column(log, "device") == device
        assert column(truth, "true_examination")[rows] == pytest.approx(column(log, "position")[rows] ** -decay)


def test_relevance_belongs_to_the_pair_and_is_what_candidates_say(world, log, truth):
    known = {
        (query, item): relevance
        for query, item, relevance in zip(
            column(world.candidates, "query_id"), column(world.candidates, "item_id"), world.relevance.ravel(), strict=True
        )
    }
    assert len(known) == world.num_queries * world.pool
    pairs = list(zip(column(log, "query_id")[:500], column(log, "item_id")[:500], strict=True))
    assert [known[pair] for pair in pairs] == column(truth, "true_relevance")[:500].tolist()
    assert world.relevance.mean() == pytest.approx(0.3, abs=1e-6)


def test_a_session_shows_every_item_once_and_the_policy_puts_its_best_first(world, log, truth):
    shape = (-1, world.num_positions)
    assert (column(log, "position").reshape(shape) == np.arange(1, 11)).all()
    items = np.sort(column(log, "item_id").reshape(shape), axis=1)
    assert (np.diff(items, axis=1) > 0).all()
    shown = column(truth, "earlier").reshape(shape).mean(0)
    chance = column(log, "randomised").reshape(shape)[:, 0] == 1
    assert (np.diff(shown) < 0).all()
    assert np.ptp(column(truth, "earlier").reshape(shape)[chance].mean(0)) < 0.06
    assert chance.mean() == pytest.approx(0.25, abs=0.01)
    without_chance = Positions(seed=3, noise=0.0)
    assert (np.diff(column(without_chance.truth(0, 5000), "earlier").reshape(shape), axis=1) <= 0).all()


@pytest.mark.parametrize("agreement", [-0.6, 0.0, 0.3, 1.0])
def test_the_earlier_relevance_agrees_as_asked(agreement):
    world = Positions(seed=4, agreement=agreement)
    logit = np.log(world.relevance / (1 - world.relevance)).ravel()
    assert np.corrcoef(logit, world.earlier.ravel())[0, 1] == pytest.approx(agreement, abs=1e-9)
    assert logit.std() == pytest.approx(1.5)
    flat = Positions(seed=4, agreement=agreement, steepness=0.4).relevance
    assert np.log(flat / (1 - flat)).std() == pytest.approx(0.4)


def test_another_ranking_makes_its_own_log(world):
    log = Positions(seed=3, randomised=0.0).log(-world.earlier, 9_995, seed=1)
    assert log.num_rows == 9_995
    again, other = (Positions(seed=3).log(-world.earlier, 9_995, seed=seed) for seed in (1, 2))
    assert log.equals(again)
    assert not log.equals(other)
    names = zip(column(world.candidates, "query_id"), column(world.candidates, "item_id"), strict=True)
    place = {pair: number for number, pair in enumerate(names)}
    pairs = [place[pair] for pair in zip(column(log, "query_id")[:9_990], column(log, "item_id")[:9_990], strict=True)]
    assert (np.diff(world.earlier.ravel()[pairs].reshape(-1, 10), axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_positions": 16}, "num_positions <= num_candidates"),
        ({"pool": 500}, "pool <= num_items"),
        ({"rate": 0.0}, "rate"),
        ({"steepness": 0.0}, "steepness"),
        ({"agreement": 1.1}, "agreement"),
        ({"noise": -1.0}, "noise"),
        ({"randomised": 1.5}, "randomised"),
        ({"examination": {"watch": 1.0}}, "examination"),
        ({"num_queries": 1}, "num_queries"),
    ],
)
def test_what_cannot_be_is_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        Positions(**options)


def test_it_is_a_generator_of_declared_runs():
    assert GENERATORS["positions"] is Positions
