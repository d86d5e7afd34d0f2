"""Logs in the format of Open Bandit: by hand, and the real ones where they are at hand."""

import csv
import gzip
import io
import os
from pathlib import Path

import numpy as np
import pytest

from polytask.policies import Log, ips, logged_policy, snips

BY_HAND = """,timestamp,item_id,position,click,propensity_score
0,2019-11-24 00:00:01,0,1,1,0.50
1,2019-11-24 00:00:01,1,2,0,0.25
2,2019-11-24 00:00:02,1,1,0,0.50
3,2019-11-24 00:00:02,1,2,1,0.25
4,2019-11-24 00:00:03,0,2,1,0.75
"""


def columns(file):
    rows = list(csv.DictReader(file))
    item, place = (np.array([int(row[name]) for row in rows]) for name in ("item_id", "position"))
    click, propensity = (np.array([float(row[name]) for row in rows]) for name in ("click", "propensity_score"))
    return item, place - 1, click, propensity


def test_by_hand():
    item, position, click, propensity = columns(io.StringIO(BY_HAND))
    target = np.array([[0.25, 0.75], [0.9, 0.1]])  # at place 1 mostly item 1, at place 2 mostly item 0
    log = Log(click, propensity, target[position, item])
    assert log.weights() == pytest.approx([0.5, 0.4, 1.5, 0.4, 1.2])
    assert ips(log).value == pytest.approx((0.5 + 0.4 + 1.2) / 5)
    assert snips(log).value == pytest.approx(2.1 / 4.0)
    assert logged_policy(item, position, num_items=2) == pytest.approx(np.array([[0.5, 0.5], [1 / 3, 2 / 3]]))


@pytest.fixture(scope="module")
def logs():
    folder = Path(os.environ.get("POLYTASK_DATA", ""), "open-bandit-men")
    if not os.environ.get("POLYTASK_DATA") or not folder.is_dir():
        pytest.skip("POLYTASK_DATA names no folder with open-bandit-men")
    found = {}
    for policy in ("random", "bts"):
        with gzip.open(folder / f"{policy}_men.csv.gz", "rt") as file:
            found[policy] = columns(file)
    return found


def test_each_policy_judged_from_the_log_of_the_other(logs):
    """Rates are 46 and 69 clicks in 10,000 rows: what can be asked is that intervals meet, not that values agree."""
    rates = {policy: float(click.mean()) for policy, (_, _, click, _) in logs.items()}
    assert rates == {"random": 0.0046, "bts": 0.0069}
    item, position, _, _ = logs["bts"]
    policies = {"bts": logged_policy(item, position, num_items=34), "random": np.full((3, 34), 1 / 34)}
    expected = {("bts", "random"): (0.00566, 0.00574, 2869), ("random", "bts"): (0.00301, 0.00319, 656)}
    for (judged, logging), (by_ips, by_snips, effective) in expected.items():
        item, position, click, propensity = logs[logging]
        log = Log(click, propensity, policies[judged][position, item])
        assert ips(log).value == pytest.approx(by_ips, abs=5e-6)
        found = snips(log)
        assert found.value == pytest.approx(by_snips, abs=5e-6)
        assert found.effective_rows == pytest.approx(effective, abs=1)
        for interval in (found.normal, found.bootstrap):
            assert interval.low < rates[judged] < interval.high


def test_a_policy_judged_from_its_own_log_has_its_own_rate(logs):
    for _, _, click, propensity in logs.values():
        found = snips(Log(click, propensity, propensity))
        assert found.value == pytest.approx(click.mean())
        assert found.effective_rows == 10_000
