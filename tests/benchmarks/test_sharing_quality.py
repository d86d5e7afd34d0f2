"""What the comparison of sharings rests on: equal sizes for all, metrics with each row's share, paired intervals."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from polytask.sharing import SHARINGS
from polytask.tasks import Binary

FOLDER = Path(__file__).parents[2] / "benchmarks" / "quality"


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import _equal_size
    import _paired

    yield _equal_size, _paired
    for name in ("_equal_size", "_paired"):
        sys.modules.pop(name)


@pytest.mark.parametrize("name", SHARINGS)
def test_every_sharing_reaches_the_wanted_size(name, modules):
    equal_size = modules[0].equal_size
    tasks, heads = [Binary("a"), Binary("b"), Binary("c")], {"hidden": [16]}
    options, reached = equal_size(name, 96, tasks, heads, 60_000)
    assert abs(reached / 60_000 - 1) <= 0.1
    assert reached == modules[0].count(name, 96, tasks, heads, options)


def test_influence_is_the_change_that_a_row_makes(modules):
    random = np.random.default_rng(3)
    label = (random.random(400) < 0.3).astype(float)
    score = np.round(label * 0.8 + random.normal(size=400), 1)  # with ties
    value, influence = modules[1].auc(label, score)
    assert value == pytest.approx(roc_auc_score(label, score))
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    for row in (0, 7, 399):
        weight = np.ones(400)
        weight[row] += 1e-4
        moved = roc_auc_score(label, score, sample_weight=weight) - value
        assert moved == pytest.approx(1e-4 * influence[row] / 400, rel=1e-3, abs=1e-12)


def test_intervals_are_paired_and_cover_seeds(modules):
    random = np.random.default_rng(4)
    resamples = modules[1].Resamples(300)
    common = random.normal(size=(1, 300)) * 5
    ours, theirs = (resamples.deviations(common - common.mean() + 0.01 * random.normal(size=(4, 300))) for _ in range(2))
    seeds = np.array([0.10, 0.12, 0.11, 0.13])
    low, high = resamples.interval(seeds, ours - theirs)
    assert low < seeds.mean() < high
    assert 0.01 < high - low < 0.05  # of rows alone and not paired, it would be above 1
