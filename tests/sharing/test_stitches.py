"""Stitches: a slow reference, where they start, state by name, both ways of computing, what is decayed."""

import copy

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing._stitches import Stitch

NAMES = ("time", "click", "buy")  # not in the order of the alphabet


def scrambled_stitch(tasks=NAMES, **options):
    stitch = Stitch(tasks, private=True, **options).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for task in sorted(tasks):
            alpha = stitch.rows.of(task).alpha
            alpha.add_(torch.randn(alpha.shape, generator=generator, dtype=torch.float64))
    return stitch


def test_alpha_starts_near_the_identity_with_rows_that_sum_to_one():
    alpha = Stitch(NAMES, private=True, num_subspaces=2, units=5, self_weight=0.9).weights()
    assert alpha.shape == (6, 6, 5)
    torch.testing.assert_close(alpha.sum(1), torch.ones(6, 5))
    torch.testing.assert_close(alpha.diagonal(), torch.full((5, 6), 0.9))
    torch.testing.assert_close(alpha[0, 1:], torch.full((5, 5), 0.02))
    assert Stitch(["a"], private=True).weights().item() == 1.0
    parts = Stitch(["a"], private=True, num_subspaces=2).weights()[..., 0]
    torch.testing.assert_close(parts, torch.tensor([[0.9, 0.1], [0.1, 0.9]]))


@pytest.mark.parametrize(("units", "shape"), [(1, (5, 4)), (4, (4, 5)), (4, (4, 5, 2, 3)), (1, (5, 4, 2, 3)), (4, (4, 0))])
@pytest.mark.parametrize("strided", [False, True])
def test_equals_a_slow_reference(units, shape, strided):
    stitch = scrambled_stitch(units=units)
    x = torch.randn(*shape, 3, dtype=torch.float64).movedim(-1, 0) if strided else torch.randn(3, *shape, dtype=torch.float64)
    alpha, found = stitch.weights().tolist(), stitch(x)
    for k in range(3):
        for unit in range(shape[0]):
            expected = sum(alpha[k][q][unit if units > 1 else 0] * x[q, unit] for q in range(3))
            torch.testing.assert_close(found[k, unit], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("units", [1, 4])
def test_a_scale_is_of_the_mixtures(units):
    stitch, x = scrambled_stitch(units=units), torch.randn(3, 4, 5, dtype=torch.float64)
    scale = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(stitch(x, scale), stitch(x) * scale.view(3, 1, 1))


@pytest.mark.parametrize("num_subspaces", [1, 2])
def test_an_entry_stays_with_its_pair_of_names(num_subspaces):
    stitch = scrambled_stitch(num_subspaces=num_subspaces, units=2)
    order = [2, 0, 1]
    other = Stitch([NAMES[place] for place in order], private=True, num_subspaces=num_subspaces, units=2).double()
    other.load_state_dict(copy.deepcopy(stitch.state_dict()))
    alpha = stitch.weights().view(3, num_subspaces, 3, num_subspaces, 2)
    expected = alpha[order][:, :, order].reshape(3 * num_subspaces, 3 * num_subspaces, 2)
    assert torch.equal(other.weights(), expected)
    row = stitch.rows.of("time").alpha.view(num_subspaces, 3, num_subspaces, 2)  # columns: buy, click, time
    assert torch.equal(alpha[0, :, 2], row[:, 0])
    assert torch.equal(alpha[0, :, 0], row[:, 2])


def test_weight_decay_leaves_alpha_alone():
    assert all(parameter.dim() == 1 for parameter in Stitch(NAMES, private=True, num_subspaces=2, units=3).parameters())


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.1])
def test_mistakes_are_named(weight):
    with pytest.raises(ConfigError, match=rf"weight in \(0, 1\].*Received: {weight}"):
        Stitch(NAMES, private=True, self_weight=weight)
