"""What the comparison of spaces rests on: every arm trains, estimates are judged by the truth, claims are what they say."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from polytask.data.synthetic import EntireSpace
from polytask.spaces import SPACES

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = ("_conversion_arms", "_record", "_runs", "entire_space")


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER / "quality"))
    import _conversion_arms
    import entire_space

    monkeypatch.setattr(_conversion_arms, "ROWS", 4_096)
    monkeypatch.setattr(_conversion_arms, "HELD_OUT", 10_000)
    yield _conversion_arms, entire_space
    for name in MODULES:
        sys.modules.pop(name, None)


def test_every_arm_trains_and_is_judged(modules, tmp_path):
    arms = modules[0]
    net = arms.run(arms.Job(0.6, arms.CTR, 3e-3, 0, str(tmp_path), False))
    assert np.load(net.clicks).shape == (10_000,)
    for arm in arms.ARMS:
        job = arms.run(arms.Job(0.6, arm, 1e-3, 0, str(tmp_path), False, 3e-3))
        assert np.isfinite(list(arms.read(job).values())).all()
    tried = {space["name"] for _, space in arms.ARMS.values()}
    assert set(SPACES) - tried == {"entire_space_paths"}  # it asks for a tree of behaviours
    assert len(list(tmp_path.rglob("*.json"))) == len(arms.ARMS) + 1


def test_estimates_are_judged_by_the_truth(modules):
    rows = modules[0].Rows(EntireSpace(seed=2, correlation=0.6, **modules[0].WORLD), 0, 60_000)
    true, drawn, clicked = rows.of("true_buy_given_click"), rows.of("drawn_buy"), rows.of("drawn_click") == 1
    best, half = (modules[0].judged(rows, chance, None) for chance in (true, true / 2))
    for name in ("calibration_all", "calibration_clicked", "calibration_rarely", "rank_correlation"):
        assert best[name] == pytest.approx(1)
    assert best["cvr_auc_clicked"] == pytest.approx(roc_auc_score(drawn[clicked], true[clicked]))
    assert best["ctcvr_auc"] == pytest.approx(roc_auc_score(drawn * clicked, rows.of("true_buy")), abs=1e-6)
    assert best["log_loss_all"] == pytest.approx(log_loss(drawn, true))
    assert (half["calibration_all"], half["rank_correlation"]) == pytest.approx((0.5, 1))
    assert half["log_loss_all"] > best["log_loss_all"]
    doubled = modules[0].judged(rows, 3 * true, None)
    assert doubled["above_one"] == (true > 1 / 3).mean() > 0
    assert doubled["greatest"] == 3 * true.max()


def test_rank_of_items_with_an_ugly_picture(modules):
    rows = modules[0].Rows(EntireSpace(seed=2, correlation=0.0, **modules[0].WORLD), 0, 60_000)
    ugly, few = rows.of("ugly_picture"), len(set(rows.item[rows.of("ugly_picture") == 1].tolist()))
    seen = len(set(rows.item.tolist()))
    chance = ugly + np.arange(len(ugly)) * 1e-9
    assert modules[0].ugly_rank(rows, chance) == pytest.approx(1 - (few - 1) / 2 / (seen - 1))
    assert modules[0].ugly_rank(rows, -chance) == pytest.approx((few - 1) / 2 / (seen - 1))
    assert modules[0].ugly_rank(rows, rows.of("true_buy_given_click")) > 0.75 > modules[0].ugly_rank(rows, rows.of("true_click"))


def test_auc_with_ties_equals_another_implementation(modules):
    random = np.random.default_rng(3)
    label = (random.random(500) < 0.2).astype(float)
    score = np.round(label + random.normal(size=500), 1)
    assert modules[0].auc(score, label) == pytest.approx(roc_auc_score(label, score))


def test_claims_of_the_papers_own_numbers_hold(modules):
    paper = modules[1].PAPER
    found = {arm: {"cvr_auc_clicked": np.array([cvr]), "ctcvr_auc": np.array([ctcvr])} for arm, (cvr, ctcvr) in paper.items()}
    for place, metric in enumerate(modules[1].MAIN):
        held = modules[1].order(found, metric, place)
        assert held["value"] == pytest.approx(1)
        assert "6 of 6" in held["note"]


def test_bias_is_shrunk_by_a_share_of_means(modules):
    random = np.random.default_rng(0)
    found = {"ESMM": {"bias": 0.4 + 0.02 * random.normal(size=20)}, "dr": {"bias": -0.1 + 0.02 * random.normal(size=20)}}
    claim = modules[1].shrunk(found, "dr", "ESMM")
    assert claim["value"] == pytest.approx(1 - abs(found["dr"]["bias"].mean()) / found["ESMM"]["bias"].mean())
    assert claim["interval"][0] < claim["value"] < claim["interval"][1]
    assert 0.7 < claim["interval"][0] < claim["interval"][1] < 0.8
