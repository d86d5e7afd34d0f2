from itertools import pairwise

import numpy as np
import pytest

from polytask.data.synthetic import Positions, closed_loop, expected_ndcg
from polytask.errors import ConfigError

WORLD = Positions(seed=5, num_queries=40, num_items=60)


def of_truth(log):
    return lambda candidates: WORLD.relevance.ravel()


def test_the_truth_has_ndcg_one_and_is_clicked_more_than_the_earlier_policy():
    rounds = closed_loop(WORLD, of_truth, rows=20_000, rounds=2)
    assert [found.ndcg for found in rounds] == [1.0, 1.0, 1.0]
    assert rounds[1].click_rate > 1.15 * rounds[0].click_rate


def test_each_round_trains_on_all_logs_so_far():
    logs = []

    def train(log):
        logs.append(log)
        return lambda candidates: candidates["match"].to_numpy()

    closed_loop(WORLD, train, rows=2_000, rounds=3)
    assert [log.num_rows for log in logs] == [2_000, 4_000, 6_000, 8_000]
    assert all(after.slice(0, before.num_rows).equals(before) for before, after in pairwise(logs))
    logs.clear()
    closed_loop(WORLD, train, rows=2_000, rounds=3, kept=2)
    assert [log.num_rows for log in logs] == [2_000, 4_000, 4_000, 4_000]


def test_one_kept_log_is_the_newest():
    logs = []

    def train(log):
        logs.append(log)
        return lambda candidates: candidates["fame"].to_numpy() * (1 if len(logs) % 2 else -1)

    closed_loop(WORLD, train, rows=10_000, rounds=2, kept=1)
    assert [log.num_rows for log in logs] == [10_000] * 3
    assert logs[0].equals(WORLD.table(0, 10_000))
    fame = [log["fame"].to_numpy().reshape(-1, 10) for log in logs]
    assert (np.diff(fame[1], axis=1) <= 0).all()
    assert (np.diff(fame[2], axis=1) >= 0).all()


def test_a_scorer_sees_neither_position_nor_click():
    def train(log):
        def score(candidates):
            assert not {"position", "device", "randomised", "click", "session"} & set(candidates.column_names)
            assert candidates.num_rows == WORLD.relevance.size
            return candidates["match"].to_numpy()

        return score

    scores = closed_loop(WORLD, train, rows=1_000, rounds=0)[0].scores
    assert np.array_equal(scores.ravel(), WORLD.candidates["match"].to_numpy().astype(float))


def test_ndcg_by_hand():
    relevance = np.array([[0.9, 0.1, 0.5, 0.3]])
    scores = np.array([[1.0, 4.0, 3.0, 2.0]])  # shows .1, .5, .3
    found = 0.1 + 0.5 / np.log2(3) + 0.3 / 2
    assert expected_ndcg(scores, relevance, 3) == pytest.approx(found / (0.9 + 0.5 / np.log2(3) + 0.3 / 2))


def test_rounds_are_not_negative():
    with pytest.raises(ConfigError, match="rounds"):
        closed_loop(WORLD, of_truth, rows=100, rounds=-1)
    with pytest.raises(ConfigError, match="kept"):
        closed_loop(WORLD, of_truth, rows=100, kept=0)
