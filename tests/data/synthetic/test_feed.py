import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from polytask.data.synthetic import GENERATORS, Feed
from polytask.errors import ConfigError

SMALL = {"num_users": 60, "num_items": 40, "num_categories": 5}
ROWS = 100_000


def column(table, name):
    return table[name].to_numpy()


@pytest.fixture(scope="module")
def truth():
    return Feed(seed=3, ranked=0.8).truth(0, ROWS)


@pytest.fixture(scope="module")
def log():
    return Feed(seed=3, ranked=0.8).table(0, ROWS)


def logits(feed, rows=60_000):
    truth = feed.truth(0, rows)
    return np.stack([column(truth, f"logit_{name}") for name in ("click", "buy", "like", "watch")])


@pytest.mark.parametrize("asked", [-1.0, -0.5, 0.0, 0.7, 1.0])
def test_correlation_of_the_logits_is_the_asked_one(asked):
    measured = np.corrcoef(logits(Feed(seed=5, correlation=asked)))
    assert measured[0, 1:] == pytest.approx([asked] * 3, abs=0.02)
    assert measured[1, 2] == pytest.approx(asked**2, abs=0.03)


def test_correlations_can_differ_by_outcome():
    measured = np.corrcoef(logits(Feed(seed=6, correlation={"buy": -0.6, "like": 0.3})))
    assert measured[0, 1:] == pytest.approx([-0.6, 0.3, 0.6], abs=0.02)


def test_rows_do_not_depend_on_how_they_are_cut(tmp_path):
    feed = Feed(seed=1, num_positions=7, **SMALL)
    whole, truth = feed.table(0, 9_000), feed.truth(0, 9_000)
    for chunk in (500, 4_001, 9_000):
        feed.write(tmp_path / "log.parquet", 8_100, start=900, truth=tmp_path / "truth.parquet", chunk=chunk)
        assert pq.read_table(tmp_path / "log.parquet").equals(whole.slice(900))
        assert pq.read_table(tmp_path / "truth.parquet").equals(truth.slice(900))


def test_seed_decides_everything():
    first, again, other = (Feed(seed=seed, **SMALL).table(10, 500) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_labels_follow_their_true_probabilities(log, truth):
    clicked = column(log, "click") == 1
    for label, probability, rows in (
        ("click", "true_click", slice(None)),
        ("buy", "true_buy", slice(None)),
        ("buy", "true_buy_given_click", clicked),
        ("like", "true_like", slice(None)),
    ):
        p, y = column(truth, probability)[rows], column(log, label)[rows]
        for part in np.array_split(np.argsort(p), 5):
            error = (y[part].mean() - p[part].mean()) / math.sqrt(np.mean(p[part] * (1 - p[part])) / len(part))
            assert abs(error) < 4


def test_base_rates_are_the_asked_ones():
    feed = Feed(seed=2, rates={"click": 0.04, "buy": 0.1, "like": 0.2, "watch": 90.0}, noise=0.7)
    log, truth = feed.table(0, ROWS), feed.truth(0, ROWS)
    weight = column(truth, "true_click") / column(truth, "true_click").mean()
    assert column(truth, "true_click").mean() == pytest.approx(0.04, rel=0.06)
    assert (weight * column(truth, "true_buy_given_click")).mean() == pytest.approx(0.1, rel=0.06)
    assert column(truth, "true_like").mean() == pytest.approx(0.2, rel=0.06)
    assert (weight * column(truth, "true_watch_given_click")).mean() == pytest.approx(90.0, rel=0.06)
    assert column(log, "like").mean() == pytest.approx(0.2, rel=0.06)


def test_hidden_purchases_are_drawn_for_every_row(log, truth):
    clicked = column(log, "click") == 1
    assert np.array_equal(column(log, "buy"), column(truth, "drawn_buy") * clicked)
    p, y = column(truth, "true_buy_given_click")[~clicked], column(truth, "drawn_buy")[~clicked]
    assert abs(y.mean() - p.mean()) < 4 * math.sqrt(np.mean(p * (1 - p)) / len(p))
    # Clicks select what sells when the two agree: the clicked rows are no fair sample of all rows.
    assert column(truth, "true_buy_given_click")[clicked].mean() > 1.2 * column(truth, "true_buy_given_click").mean()


def test_watch_time_is_zero_unless_clicked_then_positive_and_heavy_tailed(log, truth):
    watch, clicked = column(log, "watch"), column(log, "click") == 1
    assert np.all(watch[~clicked] == 0)
    assert np.all(watch[clicked] > 0)
    assert watch[clicked].mean() == pytest.approx(column(truth, "true_watch_given_click")[clicked].mean(), rel=0.04)
    assert np.quantile(watch[clicked], 0.99) > 8 * np.median(watch[clicked])


def test_click_is_examined_and_relevant_with_the_known_curve(log, truth):
    feed = Feed(seed=3)
    device = np.array(["phone", "tablet", "desktop"]).tolist()
    rows = np.array([device.index(name) for name in log["device"].to_pylist()])
    examined = feed.examination_curve[rows, column(log, "position") - 1]
    assert np.array_equal(examined, column(truth, "true_examination"))
    assert np.array_equal(column(truth, "true_click"), examined * column(truth, "true_relevance"))
    assert feed.examination_curve[0] == pytest.approx(np.arange(1, 11) ** -0.9)
    seen = column(truth, "drawn_examined")
    for place in (2, 7):
        here = (column(log, "position") == place) & (rows == 0)
        assert seen[here].mean() == pytest.approx(place**-0.9, abs=0.02)
    assert not np.any(column(log, "click")[seen == 0])


def test_no_position_bias_when_asked():
    truth = Feed(seed=3, examination={"phone": 0.0, "tablet": 0.0, "desktop": 0.0}, **SMALL).truth(0, 500)
    assert np.all(column(truth, "true_examination") == 1)


def test_policy_shows_relevant_items_first_unless_it_is_random():
    def slope(ranked):
        feed = Feed(seed=4, ranked=ranked)
        position, relevance = column(feed.table(0, 20_000), "position"), column(feed.truth(0, 20_000), "true_relevance")
        return np.corrcoef(position, relevance)[0, 1]

    assert abs(slope(0.0)) < 0.03
    assert slope(1.0) < -0.3


def test_missing_labels_have_the_asked_rate_and_depend_on_the_user_alone():
    feed = Feed(seed=8, missing={"like": 0.3, "buy": 0.1})
    log = feed.table(0, ROWS)
    hidden = log["like"].is_null().to_numpy()
    assert hidden.mean() == pytest.approx(0.3, abs=0.02)
    assert log["buy"].null_count / ROWS == pytest.approx(0.1, abs=0.02)
    assert log["click"].null_count == 0
    _, user = np.unique(log["user_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    count = np.bincount(user)
    rate = np.bincount(user, hidden) / count
    often = count > 100
    assert rate[often].std() > 3 * math.sqrt(0.25 / 100)
    # Given the user, hidden rows are like the others.
    like = column(feed.truth(0, ROWS), "drawn_like")
    excess = (hidden - rate[user]) * like
    assert abs(excess.mean()) < 4 * excess.std() / math.sqrt(ROWS)


def test_noise_flattens_probabilities_and_hides_them_from_everyone():
    calm, noisy = Feed(seed=9, **SMALL), Feed(seed=9, noise=2.0, **SMALL)
    spread = [np.std(column(feed.truth(0, 20_000), "true_relevance")) for feed in (calm, noisy)]
    assert spread[1] < 0.85 * spread[0]


def test_popular_items_follow_zipf():
    item = Feed(seed=1, item_skew=1.0, num_items=200).table(0, ROWS)["item_id"].value_counts()
    counts = np.sort([entry["counts"].as_py() for entry in item])[::-1]
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.15)


def test_history_is_a_weighted_list_that_may_be_empty(log):
    lengths = np.diff(log["history"].combine_chunks().offsets.to_numpy())
    assert lengths.min() == 0
    assert lengths.max() > 15
    assert np.array_equal(lengths, np.diff(log["history_weight"].combine_chunks().offsets.to_numpy()))
    row = log.slice(int(np.argmax(lengths)), 1)
    assert row["history_weight"][0].as_py()[:3] == pytest.approx([1.0, 0.9, 0.81])


def test_log_holds_nothing_of_the_truth(log):
    assert not [name for name in log.column_names if name.startswith(("true_", "drawn_", "logit_"))]
    assert np.all(np.diff(column(log, "time")) >= 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"correlation": 1.5}, "correlation.*1.5"),
        ({"correlation": {"bye": 0.1}}, "Did you mean 'buy'"),
        ({"rates": {"click": 0.9}}, "below the share of items looked at"),
        ({"rates": {"buy": 1.4}}, "rates.*buy.*1.4"),
        ({"missing": {"like": -0.1}}, "missing.*like"),
        ({"examination": {"phones": 1.0}}, "Did you mean 'phone'"),
        ({"num_items": 1}, "num_items.*at least 2"),
        ({"noise": -1.0}, "noise"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        Feed(**arguments).table(0, 10)


def test_nothing_is_left_of_an_interrupted_write(tmp_path):
    def stop(rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Feed(**SMALL).write(tmp_path / "log.parquet", 5_000, truth=tmp_path / "truth.parquet", chunk=1_000, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_registry_holds_it():
    assert GENERATORS["feed"] is Feed
