"""The nearest point of the hull and projections onto the cone, against their certificates and independent solvers."""

import itertools

import numpy as np
import pytest
import torch
from gramians import KINDS, SIZES, gramian, jacobian
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from polytask.balancers.solvers import dual_cone_weights, min_norm_weights

TIGHT = 1e-13  # of the terms that were added: rounding in float64


def projections(rows, weights):
    """`<g_i, d>` of gradients of length 1, and the rounding that can be in it."""
    norms = rows.norm(dim=1)
    units = rows / norms.unsqueeze(-1).clamp_min(1e-300)
    lengths = weights * norms
    return (lengths @ units) @ units.mT, lengths.abs().sum(-1)


def check_nearest(rows, weights):
    """KKT: `<g_i, d> >= ||d||²` for all, with equality where the weight is not 0. That is enough: the problem is convex."""
    assert float(weights.min()) >= 0.0
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)
    along, size = projections(rows, weights)
    norms = rows.norm(dim=1)
    excess = along - (weights @ rows).square().sum() / norms.clamp_min(1e-300)
    assert float(excess.min()) >= -TIGHT * len(rows) * float(size)
    assert float((weights * norms * excess).abs().max()) <= TIGHT * len(rows) * float(size) ** 2


def check_projected(rows, preferences, weights):
    """KKT: `v >= u`, `<g_i, d> >= 0`, and one of the two is an equality."""
    raised = (weights - preferences) * rows.norm(dim=1)
    along, size = projections(rows, weights)
    size = len(rows) * size.unsqueeze(-1)
    assert bool((raised >= -TIGHT * size).all())
    assert bool((along >= -TIGHT * size).all())
    assert bool(((raised * along).abs() <= TIGHT * size**2).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tasks", SIZES)
def test_the_nearest_point_meets_its_conditions_and_an_independent_solver(kind, tasks):
    rows = jacobian(kind, tasks)
    weights = min_norm_weights(rows @ rows.mT)
    check_nearest(rows, weights)
    norms = rows.norm(dim=1)
    # min ||z J||² + s² (sum z - 1)² has the same direction; in units that keep the lengths of very short gradients.
    price = float(norms.min()) / norms
    system = torch.cat([(rows / norms.unsqueeze(-1)).mT, price.unsqueeze(0)])
    z, _ = nnls(system.numpy(), np.append(np.zeros(rows.shape[1]), 1.0))
    judge = torch.from_numpy(z) * price / (torch.from_numpy(z) @ price)
    ours, theirs = ((w @ rows).square().sum() for w in (weights, judge))
    floor = 1e-14 * float(norms.min()) ** 2 * tasks
    assert float(ours) <= float(theirs) * (1 + 1e-8) + floor
    if kind not in ("ill", "stationary"):
        assert float(ours) == pytest.approx(float(theirs), rel=1e-8, abs=floor)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tasks", SIZES)
def test_projections_meet_their_conditions_and_an_independent_solver(kind, tasks):
    rows = jacobian(kind, tasks)
    rows = rows[:32] if kind == "ill" and tasks == 128 else rows  # 128 interior points take half a second
    tasks = len(rows)
    preferences = torch.cat([torch.eye(tasks, dtype=torch.float64), torch.ones(1, tasks, dtype=torch.float64)]) / tasks
    weights = dual_cone_weights(rows @ rows.mT, preferences)
    check_projected(rows, preferences, weights)
    norms = rows.norm(dim=1)
    units = (rows / norms.unsqueeze(-1)).mT.numpy()
    for which in {0, tasks // 2, tasks}:
        start = (preferences[which] * norms).numpy()
        z, _ = nnls(units, -units @ start)
        theirs = float(((units @ (start + z)) ** 2).sum())
        ours = float((weights[which] @ rows).square().sum())
        scale = float((preferences[which] @ rows).square().sum())
        assert ours == pytest.approx(theirs, rel=1e-8, abs=1e-14 * scale * tasks)


GRADIENT = st.lists(st.integers(-2, 2), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(GRADIENT, min_size=1, max_size=5))
def test_small_integers_with_ties_copies_and_zeros_against_all_active_sets(rows):
    rows = torch.tensor(rows, dtype=torch.float64)
    weights = min_norm_weights(rows @ rows.mT)
    assert float((weights @ rows).square().sum()) == pytest.approx(least_of_all_supports(rows.numpy()), abs=1e-12)
    assert float(weights.min()) >= 0.0
    assert float(weights.sum()) == pytest.approx(1.0)
    preferences = torch.eye(len(rows), dtype=torch.float64) / len(rows)
    raised = dual_cone_weights(rows @ rows.mT, preferences)
    check_projected(rows, preferences, raised)
    for u, v in zip(preferences, raised, strict=True):
        assert float((v @ rows).square().sum()) == pytest.approx(least_of_all_faces(rows.numpy(), u.numpy()), abs=1e-12)


def least_of_all_supports(rows):
    found = []
    for size in range(1, len(rows) + 1):
        for support in itertools.combinations(range(len(rows)), size):
            part = rows[list(support)]
            system = np.block([[part @ part.T, np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
            a = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=1e-12)[0][:size]
            if a.min() > -1e-12 and abs(a.sum() - 1) < 1e-9:
                found.append(((a @ part) ** 2).sum())
    return min(found)


def least_of_all_faces(rows, start):
    found = [((start @ rows) ** 2).sum()]
    for size in range(1, len(rows) + 1):
        for support in itertools.combinations(range(len(rows)), size):
            z = np.linalg.lstsq(rows[list(support)].T, -start @ rows, rcond=1e-12)[0]
            if z.min() > -1e-12:
                found.append(((start @ rows + z @ rows[list(support)]) ** 2).sum())
    return min(found)


@pytest.mark.parametrize(("first", "second"), [((1.0, 2.0), (3.0, -1.0)), ((1.0, 0.0), (4.0, 1.0)), ((1.0, 0.2), (-3.0, 1.0))])
def test_two_tasks_have_a_closed_form(first, second):
    g, h = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    weights = min_norm_weights(torch.stack([g, h]) @ torch.stack([g, h]).mT)
    share = float((h @ (h - g)) / (g - h).square().sum())
    assert float(weights[0]) == pytest.approx(min(max(share, 0.0), 1.0), abs=1e-14)


def test_the_projection_of_two_gradients_in_conflict_is_that_of_pcgrad():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    weights = dual_cone_weights(rows @ rows.mT, torch.eye(2, dtype=torch.float64) / 2)
    torch.testing.assert_close(weights @ rows, torch.tensor([[0.1, 0.2], [0.0, 0.25]], dtype=torch.float64))


def test_exactly_opposite_gradients_cancel():
    rows = torch.tensor([[1.0, -2.0], [-3.0, 6.0]], dtype=torch.float64)
    nearest = min_norm_weights(rows @ rows.mT)
    torch.testing.assert_close(nearest, torch.tensor([0.75, 0.25], dtype=torch.float64))
    raised = dual_cone_weights(rows @ rows.mT, torch.eye(2, dtype=torch.float64) / 2)
    assert float((raised @ rows).abs().max()) < 1e-12


def test_equal_gradients_share_alike_and_zero_gradients_are_the_minimum():
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    expected = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    torch.testing.assert_close(min_norm_weights(rows @ rows.mT), expected)
    rows[2] = 0.0
    torch.testing.assert_close(min_norm_weights(rows @ rows.mT), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))


def test_a_float32_gramian_that_rounding_made_indefinite_has_a_solution():
    rows = jacobian("stationary", 32).float()
    indefinite = rows @ rows.mT
    assert float(torch.linalg.eigvalsh(indefinite.double()).min()) < 0
    weights = min_norm_weights(indefinite)
    assert float((weights @ rows).norm()) < 1e-3 * float(rows.norm(dim=1).min())
    raised = dual_cone_weights(indefinite, torch.eye(32) / 32)
    assert bool(raised.isfinite().all())
    along, size = projections(rows.double(), raised.double())
    assert bool((along >= -1e-5 * size.unsqueeze(-1)).all())


def test_torchjd_loses_small_gradients_where_these_solvers_do_not():
    linalg = pytest.importorskip("torchjd._linalg", reason="TorchJD shows what happens to a Gramian of small gradients")
    rows = torch.tensor([[1.0, 0.0], [-2.0, 0.5]], dtype=torch.float64) * 1e-3
    assert not linalg.normalize(rows @ rows.mT, 1e-4).any()  # so its UPGrad and DualProj are the mean, its CAGrad is 0
    mean = torch.full((1, 2), 0.5, dtype=torch.float64)
    assert float((mean @ rows @ rows[0]).min()) < 0.0
    projected = dual_cone_weights(rows @ rows.mT, mean) @ rows
    torch.testing.assert_close(1e3 * projected, torch.tensor([[0.0, 0.25]], dtype=torch.float64))


def test_torchjd_gives_the_mean_of_small_gradients_in_conflict():
    pytest.importorskip("torchjd", reason="a rival")
    pytest.importorskip("quadprog", reason="TorchJD's UPGrad needs it")
    from torchjd.aggregation import UPGrad

    rows = torch.tensor([[1.0, 0.0], [-2.0, 0.5]], dtype=torch.float64) * 1e-3
    assert float(UPGrad()(rows) @ rows[0]) < -1e-7  # harms the first task
    ours = dual_cone_weights(rows @ rows.mT, torch.eye(2, dtype=torch.float64) / 2).sum(0) @ rows
    assert float((rows @ ours).min()) > 0.0


def test_torchjd_stops_mgda_early():
    aggregation = pytest.importorskip("torchjd.aggregation", reason="a rival")
    rows = jacobian("conflict", 32)
    exact = float((min_norm_weights(rows @ rows.mT) @ rows).square().sum())
    assert float(aggregation.MGDA()(rows).square().sum()) > 1.001 * exact


def test_ill_conditioned_gramians_take_the_interior_point():
    """The fast path alone does not settle there: without the other this test would fail."""
    from polytask.balancers.solvers._exchange import Quadratic, exchange

    matrix = gramian("ill", 32).unsqueeze(0)
    norms = matrix[0].diagonal().sqrt()
    matrix = matrix / norms / norms.unsqueeze(-1) + 1e-14 * torch.eye(32, dtype=torch.float64)
    _, done, _ = exchange(Quadratic(matrix, matrix.clone()), matrix < 0, rounds=17)
    assert not bool(done.all())
