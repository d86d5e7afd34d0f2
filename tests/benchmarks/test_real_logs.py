"""What the runs on real logs rest on: splits of their own, corrected intervals, resampled people, effects of made-up logs."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

FOLDER = Path(__file__).parents[2] / "benchmarks" / "quality"


@pytest.fixture
def real_logs(monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    import real_logs

    yield real_logs
    for name in ("real_logs", "_logs", "_paired", "_record"):
        sys.modules.pop(name, None)


def test_parts_are_disjoint_whole_and_of_each_seed_its_own(real_logs):
    logs = sys.modules["_logs"]
    frame = pd.DataFrame({"x": range(1000)})
    parts, others = logs.split(frame, 0), logs.split(frame, 1)
    assert [len(part) for part in parts] == [600, 200, 200]
    assert sorted(pd.concat(parts)["x"]) == list(range(1000))
    assert set(parts.test["x"]) != set(others.test["x"])


def test_the_interval_covers_the_mean_over_splits_of_one_sample(real_logs):
    """Means of random fifths of one sample of 1,000: the truth is 0, and the plain interval of 20 splits is far too narrow."""
    random, inside, plain = np.random.default_rng(0), 0, 0
    for _ in range(300):
        sample = random.normal(size=1000)
        values = np.array([random.permutation(sample)[:200].mean() for _ in range(20)])
        low, high = real_logs.interval(values)
        inside += low <= 0 <= high
        half = student.ppf(0.975, 19) * values.std(ddof=1) / np.sqrt(20)
        plain += abs(values.mean()) <= half
    assert inside / 300 > 0.9
    assert plain / 300 < 0.7


def test_a_person_drawn_twice_is_two_groups(real_logs):
    found = {"person": np.array([0, 0, 1, 1])}
    groups = real_logs.people(found, np.array([2, 3, 2, 3, 0, 1]))
    assert len(set(groups)) == 3
    assert [groups.tolist().count(group) for group in dict.fromkeys(groups.tolist())] == [2, 2, 2]


def test_effects_are_those_of_the_arms(real_logs, tmp_path):
    """A made-up log with an effect of 0.2 on visits: the randomised row finds it; 0.2 is inside, 0 is outside."""
    random, rows = np.random.default_rng(1), 6000
    segment = random.choice(["Mens E-Mail", "Womens E-Mail", "No E-Mail"], rows)
    visit = (random.uniform(size=rows) < np.where(segment == "No E-Mail", 0.1, 0.3)).astype(int)
    log = pd.DataFrame({"segment": segment, "visit": visit, "conversion": visit, "spend": visit * 10.0})
    (tmp_path / "hillstrom").mkdir()
    log.to_csv(tmp_path / "hillstrom" / "hillstrom.csv.gz", index=False)

    def predicted(effect):
        level = {"Mens E-Mail": 0.1 + effect, "Womens E-Mail": 0.1 + effect, "No E-Mail": 0.1}
        return {f"{arm}/{name}": np.full(50, p) for arm, p in level.items() for name in ("visit", "joint", "spend")}

    table = real_logs.effects({"right": [predicted(0.2)] * 2, "blind": [predicted(0.0)] * 2}, str(tmp_path))
    found = {entry["what"]: entry for entry in table}
    assert found["Mens E-Mail, effect on visit: randomised"]["value"] == pytest.approx(20, abs=4)
    assert found["Mens E-Mail, effect on visit: right"]["note"].startswith("inside")
    assert found["Mens E-Mail, effect on visit: blind"]["note"].startswith("outside")


def test_the_naive_way_is_compared_with_its_own_model(real_logs):
    random, rows = np.random.default_rng(2), 160
    person = np.arange(rows) // 16
    rating = random.integers(1, 6, rows).astype(float)
    labels = {"label/rating": rating, "label/like": (rating >= 4).astype(float), "person": person}
    near = {**labels, "rating": rating + 0.1, "like": rating / 5}
    far = {**labels, "rating": rating + 1.0, "like": rating / 5}
    found = real_logs.selection({"net, naive": [far, far], "net, inverse propensity": [near, near]}, 20)
    (mse,) = [entry for entry in found if entry["what"] == "coat, rating, MSE: net, inverse propensity"]
    assert (mse["against"], mse["difference"]) == ("net, naive", pytest.approx(0.01 - 1.0))
    assert mse["difference_interval"] == pytest.approx([-0.99, -0.99])
