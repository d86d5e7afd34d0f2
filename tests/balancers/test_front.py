"""The static front: the plain sum first, both ends reached, the same points every time."""

import pytest

from polytask.balancers import static_front
from polytask.errors import ConfigError


def test_two_tasks_make_a_path_between_the_ends():
    first, *path = static_front(["click", "buy"], points=12, spread=16.0)
    assert first.weights == {"click": 1.0, "buy": 1.0}
    ratios = [point.weights["buy"] / point.weights["click"] for point in path]
    assert ratios[0] == pytest.approx(1 / 16, rel=1e-2)
    assert ratios[-1] == pytest.approx(16, rel=1e-2)
    assert ratios == sorted(ratios)
    assert all(sum(point.weights.values()) == pytest.approx(2, abs=1e-3) for point in path)


def test_more_tasks_take_seeded_points_of_the_simplex():
    tasks = ["a", "b", "c", "d"]
    points = [point.weights for point in static_front(tasks, points=200)]
    assert points == [point.weights for point in static_front(tasks, points=200)]
    assert points != [point.weights for point in static_front(tasks, points=200, seed=1)]
    means = [sum(point[task] for point in points) / len(points) for task in tasks]
    assert means == pytest.approx([1.0] * 4, abs=0.2)  # each weight has a standard deviation of .77 over the simplex
    assert max(point["c"] for point in points) > 3


def test_a_front_without_points_is_refused():
    with pytest.raises(ConfigError, match="points"):
        static_front(["a", "b"], points=0)
