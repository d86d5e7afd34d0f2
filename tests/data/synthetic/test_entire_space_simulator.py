"""EntireSpace: probabilities, their correlation, what is revealed, rows by any cut, items with an ugly picture."""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from polytask.data.synthetic import GENERATORS, EntireSpace, bayes_auc, bayes_log_loss, oracle
from polytask.errors import ConfigError

ROWS = 300_000
SMALL = {"num_users": 70, "num_items": 64}


def column(table, name):
    return table[name].to_numpy().astype(float)


@pytest.fixture(scope="module")
def log():
    return EntireSpace(seed=3).table(0, ROWS)


@pytest.fixture(scope="module")
def truth():
    return EntireSpace(seed=3).truth(0, ROWS)


def follows(label, probability):
    """Whether labels are what their probabilities say, in five groups by probability."""
    for part in np.array_split(np.argsort(probability), 5):
        p, y = probability[part], label[part]
        assert abs(y.mean() - p.mean()) < 4 * math.sqrt(np.mean(p * (1 - p)) / len(part))


@pytest.mark.parametrize("asked", [-1.0, *EntireSpace.CORRELATIONS, 0.9, 1.0])
def test_logits_have_the_asked_correlation_over_all_pairs(asked):
    pairs = EntireSpace(seed=5, correlation=asked, steepness=1.3, **SMALL)._pairs
    user, item = (index.ravel() for index in np.meshgrid(np.arange(70), np.arange(64), indexing="ij"))
    weight = np.outer(pairs.users.popularity, pairs.items.popularity).ravel()
    logit = pairs.logits(user, item).astype(float)
    centred = logit - (logit @ weight)[:, None]
    covariance = (centred * weight) @ centred.T
    assert logit @ weight == pytest.approx(pairs.offset, abs=1e-4)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([1.3, 1.3], rel=1e-4)
    assert covariance[0, 1] / 1.3**2 == pytest.approx(asked, abs=1e-4)


@pytest.mark.parametrize("asked", EntireSpace.CORRELATIONS)
def test_logits_of_drawn_rows_have_it_too(asked):
    truth = EntireSpace(seed=6, correlation=asked).truth(0, ROWS)
    assert np.corrcoef(column(truth, "logit_click"), column(truth, "logit_buy"))[0, 1] == pytest.approx(asked, abs=0.01)


def test_draws_follow_their_probabilities_on_every_row(log, truth):
    clicked = column(log, "click") == 1
    follows(column(truth, "drawn_click"), column(truth, "true_click"))
    for rows in (clicked, ~clicked):
        follows(column(truth, "drawn_buy")[rows], column(truth, "true_buy_given_click")[rows])
    follows(column(truth, "drawn_click") * column(truth, "drawn_buy"), column(truth, "true_buy"))
    for name in ("click", "buy"):
        p = column(truth, "true_click" if name == "click" else "true_buy_given_click")
        assert p == pytest.approx(1 / (1 + np.exp(-column(truth, f"logit_{name}"))), abs=1e-6)


@pytest.mark.parametrize("correlation", [-0.6, 0.6])
def test_purchase_is_independent_of_click_given_the_row(correlation):
    truth = EntireSpace(seed=4, correlation=correlation).truth(0, ROWS)
    left = [
        column(truth, f"drawn_{name}") - column(truth, p)
        for name, p in (("click", "true_click"), ("buy", "true_buy_given_click"))
    ]
    product = left[0] * left[1]
    assert abs(product.mean()) < 4 * product.std() / math.sqrt(ROWS)


def test_purchase_is_revealed_exactly_where_there_was_a_click(log, truth):
    clicked = column(log, "click") == 1
    assert np.array_equal(clicked, column(truth, "drawn_click") == 1)
    assert np.array_equal(log["buy"].is_valid().to_numpy(), clicked)
    assert np.array_equal(column(log.filter(log["buy"].is_valid()), "buy"), column(truth, "drawn_buy")[clicked])
    assert truth["drawn_buy"].null_count == 0
    assert not [name for name in log.column_names if name.startswith(("true_", "drawn_", "logit_", "ugly"))]


@pytest.mark.parametrize("correlation", EntireSpace.CORRELATIONS)
def test_base_rates_are_the_asked_ones_and_clicks_select(correlation):
    truth = EntireSpace(seed=2, rates={"buy": 0.2}, correlation=correlation).truth(0, ROWS)
    click, buy = column(truth, "true_click"), column(truth, "true_buy_given_click")
    clicked, everywhere = np.average(buy, weights=click), buy.mean()
    assert click.mean() == pytest.approx(0.04, rel=0.03)
    assert clicked == pytest.approx(0.2, rel=0.03)
    if correlation:
        assert math.copysign(1, correlation) * math.log(clicked / everywhere) > math.log(1.5)
    else:
        assert clicked == pytest.approx(everywhere, rel=0.15)  # uncorrelated logits, not independent ones


def test_scores_of_the_truth(log, truth):
    scores, clicked = oracle(log, truth), column(log, "click") == 1
    best, drawn = column(truth, "true_buy_given_click"), column(truth, "drawn_buy")
    assert set(scores) == {"click", "buy"}
    assert scores["buy"].auc == pytest.approx(roc_auc_score(drawn[clicked], best[clicked]))
    assert scores["click"].log_loss == pytest.approx(log_loss(column(log, "click"), column(truth, "true_click")), rel=1e-5)
    assert scores["click"].auc == pytest.approx(scores["click"].expected_auc, abs=0.005)
    assert roc_auc_score(drawn, best) == pytest.approx(bayes_auc(best), abs=0.005)
    assert log_loss(drawn, best) == pytest.approx(bayes_log_loss(best), abs=0.003)
    assert roc_auc_score(drawn, column(truth, "true_click")) < bayes_auc(best) - 0.03


def test_rows_do_not_depend_on_how_they_are_cut(tmp_path):
    simulator = EntireSpace(seed=1, **SMALL)
    whole, truth = simulator.table(0, 70_000), simulator.truth(0, 70_000)
    for start, stop in ((0, 10), (32_760, 32_780), (40_000, 70_000)):
        assert simulator.table(start, stop).equals(whole.slice(start, stop - start))
        assert simulator.truth(start, stop).equals(truth.slice(start, stop - start))
    simulator.write(tmp_path / "log.parquet", 40_000, start=20_000, truth=tmp_path / "truth.parquet", chunk=7_001)
    assert pq.read_table(tmp_path / "log.parquet").equals(whole.slice(20_000, 40_000))
    assert pq.read_table(tmp_path / "truth.parquet").equals(truth.slice(20_000, 40_000))


def test_seed_decides_everything_and_blocks_differ():
    first, again, other = (EntireSpace(seed=seed, **SMALL).table(0, 65_536) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)
    assert not first.slice(0, 32_768).equals(first.slice(32_768))


def test_groups_belong_to_their_ids(log):
    for name, group in (("user_id", "user_segment"), ("item_id", "item_category")):
        pairs = set(zip(column(log, name), column(log, group), strict=True))
        assert len(pairs) == len({one for one, _ in pairs})
        assert len({two for _, two in pairs}) == 20


def test_popular_items_follow_zipf():
    item = EntireSpace(seed=1, item_skew=1.0, num_items=200).table(0, ROWS)["item_id"].to_numpy()
    counts = np.sort(np.bincount(item))[::-1]
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.1)
    assert counts[9] / counts[99] == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("correlation", EntireSpace.CORRELATIONS)
def test_an_ugly_picture_is_seldom_clicked_and_often_bought(correlation):
    simulator = EntireSpace(seed=7, correlation=correlation)
    item, truth = simulator.table(0, ROWS)["item_id"].to_numpy(), simulator.truth(0, ROWS)
    ugly = column(truth, "ugly_picture") == 1
    assert 0 < len(set(item[ugly])) <= 25
    assert not set(item[ugly]) & set(item[~ugly])
    for name, sign in (("logit_click", -1), ("logit_buy", 1)):
        by_item = [column(truth, name)[item == one].mean() for one in set(item[ugly])]
        assert min(sign * (np.array(by_item) - column(truth, name).mean())) > 0


def test_there_is_no_ugly_picture_where_clicks_and_purchases_are_one():
    assert not column(EntireSpace(correlation=1.0, **SMALL).truth(0, 1_000), "ugly_picture").any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"correlation": -1.1}, "correlation.*-1.1"),
        ({"rates": {"bye": 0.1}}, "Did you mean 'buy'"),
        ({"rates": {"click": 0.0}}, "rates.*click"),
        ({"num_items": 5}, "num_items.*at least 64"),
        ({"steepness": 9.0}, "steepness"),
        ({"item_skew": -1.0}, "item_skew"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        EntireSpace(**arguments)


def test_registry_holds_it():
    assert GENERATORS["entire_space"] is EntireSpace
