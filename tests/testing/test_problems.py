"""Problems know their Pareto set, and balancers reach it."""

import pytest
import torch

from polytask.balancers import BALANCERS
from polytask.testing import FonsecaFleming, NashToy, SteepValley, ThreeQuadratics, TwoQuadratics, descend

PROBLEMS = (TwoQuadratics, ThreeQuadratics, FonsecaFleming, SteepValley, NashToy)
NEEDS = {
    "fixed": {"weights": {}},
    "auxiliary_decay": {"auxiliary": ["steep"], "steps": 100, "floor": 0.2},
    "metabalance": {"main": "steep"},
    "cosine_gate": {"main": ["steep"]},
    "famo": {"decay": 0.0},
    "gradnorm": {"alpha": 0.12},  # of the paper's own toy; at 1.5 weights chase the losses round and round here
}


def point(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def jacobian(problem, x):
    x = x.clone().requires_grad_()
    return torch.stack([torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in problem.losses(x).values()])


def weights_of_least_norm(rows):
    """Of the simplex, on a grid."""
    grid = torch.linspace(0, 1, 401, dtype=rows.dtype)
    if len(rows) == 2:
        return torch.stack([grid, 1 - grid], 1)
    pairs = torch.cartesian_prod(grid[::8], grid[::8])
    pairs = pairs[pairs.sum(1) <= 1 + 1e-9]
    return torch.cat([pairs, 1 - pairs.sum(1, keepdim=True)], 1)


ON_THE_SET = [
    (TwoQuadratics, [(0.9, 0.45, 0.0), (-0.2, -0.1, 0.0), (-1.0, -0.5, 0.0)]),
    (ThreeQuadratics, [(0.2, 0.3, 0.0), (0.5, 0.5, 0.0), (0.0, 0.0, 0.0), (0.0, 0.7, 0.0)]),
    (FonsecaFleming, [(0.6, 0.6), (-0.1, -0.1), (0.0, 0.0)]),
    (NashToy, [tuple(found) for found in NashToy().front()[10:-10:30].tolist()]),
]
OFF_THE_SET = [
    (TwoQuadratics, (1.2, 0.6, 0.0), 0.05**0.5),
    (TwoQuadratics, (0.0, 0.0, -0.3), 0.3),
    (ThreeQuadratics, (0.75, 0.75, 0.0), 0.125**0.5),
    (ThreeQuadratics, (-0.3, -0.4, 1.2), 1.3),
    (ThreeQuadratics, (0.2, 0.2, 0.1), 0.1),
    (FonsecaFleming, (0.3, -0.3), 0.18**0.5),
    (SteepValley, (0.0, 0.0), 4.5**0.5),
    (NashToy, (-9.0, -8.4345), 2.0),
]


@pytest.mark.parametrize(("kind", "points"), ON_THE_SET)
def test_on_the_set_no_direction_helps_all(kind, points):
    problem = kind()
    for numbers in points:
        x = point(*numbers)
        rows = jacobian(problem, x)
        shortest = (weights_of_least_norm(rows) @ rows).norm(dim=1).min()
        assert shortest < 0.02 * rows.norm(dim=1).max()  # 0 but for the step of the grid
        assert problem.distance(x) < 1e-4


@pytest.mark.parametrize(("kind", "numbers", "distance"), OFF_THE_SET)
def test_off_the_set_the_distance_is_that_in_space(kind, numbers, distance):
    assert kind().distance(point(*numbers)) == pytest.approx(distance, rel=1e-3)


def test_the_segment_of_the_valley_is_the_set():
    problem = SteepValley()
    on, beside = point(1.75, -1.25), point(1.9, -1.4)
    rows = jacobian(problem, on)
    cosine = torch.cosine_similarity(rows[0], rows[1], 0)
    assert cosine == pytest.approx(-1.0)
    assert torch.cosine_similarity(*jacobian(problem, beside), 0) > -0.9
    assert not problem.distance(on)


def test_the_front_of_fonseca_and_fleming_is_bent_inwards():
    problem = FonsecaFleming()
    end = 0.5**0.5
    ends = [sum(problem.losses(point(s * end, s * end)).values()).item() for s in (1, -1)]
    assert sum(problem.losses(point(0.0, 0.0)).values()).item() > 1.2 * max(ends)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_losses_stay_above_what_is_said_to_be_least_and_draw_nothing(kind):
    problem, before = kind(), torch.get_rng_state()
    for start in problem.starts:
        for share in (0.0, 0.3, 1.0):
            losses = problem.losses(share * point(*start))
            assert tuple(losses) == problem.tasks
            assert all(loss > least for loss, least in zip(losses.values(), problem.least, strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_the_toy_has_the_values_of_the_formula():
    # Above: log|½(-x1 - 7) + tanh x2| + 6 at (9, 9) is log 7 + 6, times tanh 4.5; the other log|-3 - 1 + 2| + 6.
    high = NashToy().losses(point(9.0, 9.0))
    gate = torch.tanh(point(4.5)).item()
    assert high["first"].item() == pytest.approx(0.1 * gate * (torch.log(point(7.0)).item() + 6), rel=1e-6)
    assert high["second"].item() == pytest.approx(gate * (torch.log(point(2.0)).item() + 6), rel=1e-6)
    low = NashToy().losses(point(9.0, -1.0))
    gate = torch.tanh(point(0.5)).item()
    assert low["first"].item() == pytest.approx(0.1 * gate * ((4 + 4.9) / 10 - 20))
    assert low["second"].item() == pytest.approx(gate * ((256 + 4.9) / 10 - 20))
    assert all(not loss for loss in NashToy().losses(point(0.0, 0.0)).values())


@pytest.mark.parametrize("name", [name for name in BALANCERS if name != "rotograd"])  # which rotates rows of an activation
def test_every_method_reaches_the_front_of_two_bowls(name):
    """From 2.0 away to a quarter of the first rate: the last steps are a twentieth of it, and some methods draw or still turn."""
    problem = TwoQuadratics()
    torch.manual_seed(0)  # of random weights
    balancer = BALANCERS[name](problem.tasks, **NEEDS.get(name, {}))
    end = descend(problem, balancer, problem.starts[0], lr=0.4, steps=40, above_zero=True)
    assert problem.distance(end) < 0.1


@pytest.mark.parametrize("name", ["equal", "nash_mtl", "upgrad", "famo"])
def test_three_bowls_are_descended_to_their_triangle(name):
    problem = ThreeQuadratics()
    for start in problem.starts:
        end = descend(problem, BALANCERS[name](problem.tasks), start, lr=0.4, steps=40, above_zero=True)
        assert problem.distance(end) < 0.05


@pytest.mark.parametrize("name", ["upgrad", "nash_mtl"])
def test_a_bent_front_is_reached_between_its_ends_where_a_sum_goes_to_an_end(name):
    problem = FonsecaFleming()
    for start in problem.starts:
        end = descend(problem, BALANCERS[name](problem.tasks), start, lr=0.1, steps=60)
        assert problem.distance(end) < 0.02
        assert end.abs().max() < 0.6
        summed = descend(problem, BALANCERS["equal"](problem.tasks), start, lr=0.1, steps=80)
        assert summed.abs().max() > 0.65


def test_the_sum_stalls_in_a_steep_valley_where_methods_without_units_do_not():
    problem = SteepValley()
    for start in problem.starts:
        ends = {
            name: descend(problem, BALANCERS[name](problem.tasks), start, lr=0.2, steps=120)
            for name in ("equal", "nash_mtl", "imtl_g")
        }
        assert problem.distance(ends["equal"]) > 1.5
        assert abs(ends["equal"].sum()) < 0.2  # it lies on the floor
        assert problem.distance(ends["nash_mtl"]) < 0.1
        assert problem.distance(ends["imtl_g"]) < 0.1


def toy(name, start, *, steps, **options):
    """Adam as it was published, at 100 times the rate."""
    problem, x = NashToy(), torch.nn.Parameter(point(*start))
    balancer, optimizer = BALANCERS[name](problem.tasks, **options), torch.optim.Adam([x], lr=0.1)
    shift = problem.least if name == "famo" else (0.0, 0.0)

    def losses():
        return {task: loss - least for (task, loss), least in zip(problem.losses(x).items(), shift, strict=True)}

    for _ in range(steps):
        optimizer.zero_grad()
        balancer.backward(losses(), shared=[x])
        optimizer.step()
        with torch.no_grad():
            balancer.after_step(losses)
    return problem.distance(x.detach())


def test_on_the_toy_the_sum_is_held_at_the_ridges_that_others_pass():
    """The start that the sum does not leave; the whole comparison is benchmarks/quality/balancing_toy.py."""
    start = NashToy.starts[2]
    assert toy("equal", start, steps=180) > 7
    assert toy("nash_mtl", start, steps=180) < 0.2
    assert toy("famo", start, steps=180, decay=0.0) < 4
