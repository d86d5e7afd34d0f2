import numpy as np
import pytest

from polytask.metrics import brier, ranked_probability_score


def test_two_levels_are_the_brier_score(binary):
    label, prediction, weight = binary
    both = np.stack([1 - prediction.astype(float), prediction.astype(float)], axis=1)
    assert ranked_probability_score(label, both, weight) == pytest.approx(brier(label, prediction, weight), rel=1e-6)


def test_a_far_miss_costs_more_and_the_worst_is_one():
    sure_of_lowest = np.array([[1.0, 0.0, 0.0]])
    assert [ranked_probability_score(np.array([float(level)]), sure_of_lowest) for level in range(3)] == [0.0, 0.5, 1.0]


def test_true_shares_score_best(classes):
    label, _, _ = classes
    shares = np.bincount(label.astype(int)) / len(label)
    best = ranked_probability_score(label, np.tile(shares, (len(label), 1)))
    for level in range(4):
        other = 0.9 * shares + 0.1 * np.eye(4)[level]
        assert ranked_probability_score(label, np.tile(other, (len(label), 1))) > best
