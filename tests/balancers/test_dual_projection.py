"""DualProj: the preferred sum, changed as little as harms no task."""

import pytest
import torch
from scipy.optimize import nnls
from solvers.gramians import jacobian
from weighing import NAMES, direction, weigh

from polytask.balancers import DualProjection
from polytask.balancers.measures import Measured
from polytask.errors import ConfigError
from polytask.testing import check_balancer


def preferring(tasks):
    return DualProjection(tasks, preferences={name: 2.0 for name in tasks if name == "click"})


def test_contract():
    check_balancer(DualProjection, absent_changes_others=True, scale="equivariant", conflict_free=True)
    check_balancer(preferring, absent_changes_others=True, scale="equivariant", conflict_free=True)


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_is_the_projection_of_the_sum(tasks):
    rows = jacobian("conflict", tasks)
    preferences = {name: 1.0 + place for place, name in enumerate(NAMES[:tasks]) if place != 1}
    total = torch.tensor([preferences.get(name, 1.0) for name in NAMES[:tasks]]).double() @ rows
    added, _ = nnls(rows.T.numpy(), -total.numpy(), maxiter=1000)
    found = direction(DualProjection, rows, preferences=preferences)
    torch.testing.assert_close(found, total + torch.tensor(added) @ rows, rtol=1e-6, atol=1e-7)
    assert found.norm() <= total.norm()


def test_two_tasks_by_hand():
    rows = torch.tensor([[4.0, 0.0], [-1.0, 1.0]]).double()
    # The sum (3, 1) harms the second: what it has along (-1, 1) is taken away.
    assert direction(DualProjection, rows).tolist() == pytest.approx([2.0, 2.0])
    assert weigh(DualProjection(["a", "b"]), rows).tolist() == pytest.approx([1.0, 2.0])


def test_three_tasks_without_conflict_have_their_preferences():
    rows = torch.tensor([[1.0, 0.0, 0.2], [0.3, 1.0, 0.0], [0.0, 0.1, 1.0]])
    assert weigh(DualProjection(NAMES[:3], preferences={"c": 0.0, "a": 5.0}), rows).tolist() == pytest.approx([5.0, 1.0, 0.0])


def test_preferences_go_by_name():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    balancer = DualProjection(["a", "b", "c"], preferences={"c": 7.0})
    weights = balancer.weigh(Measured(rows @ rows.T), torch.ones(2).double(), ("c", "a"))
    assert weights.tolist() == pytest.approx([7.0, 1.0])
    assert not any("preference" in name for name in balancer.state_dict())  # a run goes on with what it declares now


@pytest.mark.parametrize(
    ("preferences", "text"), [({"clik": 1.0}, "'clik'"), ({"a": -1.0}, "'a'.*-1"), ({"a": 0.0, "b": 0.0}, "above 0.*0.0")]
)
def test_mistakes_are_named(preferences, text):
    with pytest.raises(ConfigError, match=text):
        DualProjection(["a", "b"], preferences=preferences)
