import itertools

import numpy as np
import pytest

from polytask.errors import DataError
from polytask.fusion import WeightedProduct
from polytask.policies import Log, expected_reward, ips, logged_policy, of_logged, ranked_policy


def test_a_place_holds_the_item_of_its_rank_ties_in_random_order():
    random = np.random.default_rng(0)
    scores = random.integers(0, 3, (200, 5)).astype(float)
    position = random.integers(0, 5, 200)
    found = ranked_policy(scores, position)
    assert found.sum(axis=1) == pytest.approx(np.ones(200))
    for row in range(12):
        counts = np.zeros(5)
        orders = [
            order
            for order in itertools.permutations(range(5))
            if all(scores[row, one] >= scores[row, two] for one, two in itertools.pairwise(order))
        ]
        for order in orders:
            counts[order[position[row]]] += 1
        assert found[row] == pytest.approx(counts / len(orders))


def test_every_item_is_at_one_place_of_a_list():
    scores = np.tile(np.array([[0.3, 0.1, 0.3, 0.2]]), (4, 1))
    places = ranked_policy(scores, np.arange(4), explore=0.1)
    assert places.sum(axis=0) == pytest.approx(np.ones(4))
    assert places.min() == pytest.approx(0.1 / 4)


def test_the_value_of_a_fused_ranking_where_items_were_shown_at_random():
    """Two places, three items; a click depends on item and place. The estimate is the truth of the ranked list."""
    random = np.random.default_rng(1)
    click = np.array([[0.5, 0.1, 0.3], [0.2, 0.05, 0.15]])  # by place and item
    rows = 40_000
    item, position = random.integers(0, 3, rows), random.integers(0, 2, rows)
    reward = (random.random(rows) < click[position, item]).astype(float)
    fusion = WeightedProduct({"click": 1.0, "price": 1.0})
    candidates = {"click": np.array([0.5, 0.1, 0.3]), "price": np.array([1.0, 2.0, 3.0])}
    scores = np.tile(fusion.of_arrays(candidates), (rows, 1))  # ranks item 2, then 0, then 1
    policy = ranked_policy(scores, position)
    found = ips(Log(reward, np.full(rows, 1 / 3), of_logged(policy, item)))
    truth = (click[0, 2] + click[1, 0]) / 2
    assert found.value == pytest.approx(truth, abs=4 * found.standard_error)
    assert found.normal.low < truth < found.normal.high
    assert expected_reward(policy, click[position]).mean() == pytest.approx(truth, abs=0.01)


def test_what_is_no_place_and_no_item_is_refused():
    with pytest.raises(DataError, match="Places lie in 0 to 1"):
        ranked_policy(np.zeros((1, 2)), np.array([2]))
    with pytest.raises(DataError, match="chance"):
        ranked_policy(np.zeros((1, 2)), np.array([1]), explore=1.5)
    with pytest.raises(DataError, match="Items lie in 0 to 1"):
        logged_policy(np.array([2]), np.array([0]), num_items=2)
    with pytest.raises(DataError, match=r"no row at \[0\]"):
        logged_policy(np.array([1]), np.array([1]), num_items=2)
