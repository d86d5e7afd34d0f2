import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from polytask.data.synthetic import Feed, bayes_auc, bayes_log_loss, oracle


def test_realised_scores_equal_another_implementation():
    feed = Feed(seed=2, missing={"like": 0.4})
    log, truth = feed.table(0, 30_000), feed.truth(0, 30_000)
    scores = oracle(log, truth)
    like = log["like"].to_numpy()
    seen = ~np.isnan(like)
    best = truth["true_like"].to_numpy()[seen]
    assert scores["like"].auc == pytest.approx(roc_auc_score(like[seen], best))
    assert scores["like"].log_loss == pytest.approx(log_loss(like[seen], best))
    clicked = log["click"].to_numpy() == 1
    buy, best = log["buy"].to_numpy()[clicked], truth["true_buy_given_click"].to_numpy()[clicked]
    assert scores["buy"].auc == pytest.approx(roc_auc_score(buy, best))
    error = log["watch"].to_numpy()[clicked] - truth["true_watch_given_click"].to_numpy()[clicked]
    assert scores["watch"].rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)


def test_expected_scores_are_the_mean_over_redrawn_labels():
    rng = np.random.default_rng(0)
    p = np.round(rng.beta(0.7, 2.0, 4_000), 2).clip(0.01, 0.99)
    drawn = [rng.random(p.size) < p for _ in range(60)]
    assert bayes_auc(p) == pytest.approx(np.mean([roc_auc_score(y, p) for y in drawn]), abs=0.002)
    assert bayes_log_loss(p) == pytest.approx(np.mean([log_loss(y, p) for y in drawn]), abs=0.003)


def test_expected_auc_by_hand():
    # Pairs (positive .9, negative .2 or .9): the tie counts half.
    p = np.array([0.9, 0.2])
    won = 0.9 * 0.8 + 0.5 * (0.9 * 0.1 + 0.2 * 0.8)
    assert bayes_auc(p) == pytest.approx(won / (1.1 * 0.9))


def test_no_feature_beats_the_truth():
    feed = Feed(seed=4)
    log, truth = feed.table(0, 50_000), feed.truth(0, 50_000)
    scores = oracle(log, truth)
    for other in ("true_relevance", "true_examination", "true_like", "logit_buy"):
        assert roc_auc_score(log["click"].to_numpy(), truth[other].to_numpy()) < scores["click"].auc
    assert scores["click"].auc == pytest.approx(scores["click"].expected_auc, abs=0.01)
