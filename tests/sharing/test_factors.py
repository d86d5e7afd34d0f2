"""Low-rank forms of stacked weights: their formulas, exactness at full rank, the bound of the error, sensible ranks."""

import math

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing._factors import FORMS, LastAxis, Ranks, TensorTrain, Tucker

SIZES = (4, 5, 7)  # tasks, outputs, inputs


def together(factors, rows):
    return torch.einsum("kr,roi->koi", rows.double(), factors.matrices().double()).detach()


def near_low_rank(noise, sizes=SIZES, seed=0):
    """Weights of multilinear rank (2, 3, 2) under noise."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    tasks, out, size = sizes
    weight = torch.einsum("rab,kr,oa,ib->koi", draw(2, 2, 3), draw(tasks, 2), draw(out, 2), draw(size, 3))
    return weight / weight.norm() + noise * draw(*sizes) / math.sqrt(math.prod(sizes))


def test_tucker_is_its_sum_of_outer_products():
    factors = Tucker(SIZES, Ranks(2, 3, 2)).double()
    rows = torch.randn(4, 2, dtype=torch.float64)
    expected = torch.zeros(SIZES, dtype=torch.float64)
    for r in range(2):
        for a in range(2):
            for b in range(3):
                outer = torch.outer(factors.outputs[:, a], factors.inputs[:, b]).detach()
                expected += factors.core[r, a, b].item() * rows[:, r].reshape(4, 1, 1) * outer
    torch.testing.assert_close(together(factors, rows), expected, rtol=0, atol=1e-12)


def test_a_tensor_train_is_its_chain_of_products():
    factors = TensorTrain(SIZES, Ranks(2, 1, 3)).double()
    rows = torch.randn(4, 3, dtype=torch.float64)
    found = together(factors, rows)
    for k in range(4):
        for o in range(5):
            for i in range(7):  # G1(o, :) G2(:, i, :) G3(:, k)
                chain = factors.outputs[o].detach() @ factors.core[:, :, i].detach().T @ rows[k]
                assert found[k, o, i].item() == pytest.approx(chain.item(), abs=1e-12)


def test_the_last_axis_form_is_a_product_of_two_matrices():
    factors = LastAxis(SIZES, Ranks(1, 1, 3)).double()
    rows = torch.randn(4, 3, dtype=torch.float64)
    loadings = factors.basis.detach().flatten(1).T  # (o i) x r
    torch.testing.assert_close(together(factors, rows).flatten(1).T, loadings @ rows.T)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("sizes", [SIZES, (2, 6, 3), (5, 1, 2), (1, 4, 3)])
def test_full_rank_loses_nothing(kind, sizes):
    weight = torch.randn(sizes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = FORMS[kind].decompose(weight, 0.0)
    torch.testing.assert_close(together(*parts), weight, rtol=0, atol=1e-12)
    assert all(rank <= most for rank, most in zip(parts.factors.ranks, FORMS[kind].full(sizes), strict=True))
    assert parts.rows.square().sum(1).mean().item() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("tolerance", [0.02, 0.1, 0.4])
def test_the_error_is_within_the_tolerance(kind, tolerance):
    for seed in range(5):
        weight = near_low_rank(0.2, seed=seed)
        error = (together(*FORMS[kind].decompose(weight, tolerance)) - weight).norm() / weight.norm()
        assert error.item() <= tolerance


@pytest.mark.parametrize(("kind", "ranks"), [("tucker", (2, 3, 2)), ("tt", (2, 1, 2)), ("laf", (1, 1, 2))])
def test_planted_ranks_are_found_under_noise_below_the_tolerance(kind, ranks):
    assert FORMS[kind].decompose(near_low_rank(0.003), 0.02).factors.ranks == ranks
    assert FORMS[kind].decompose(near_low_rank(0.003), 1e-5).factors.ranks == FORMS[kind].full(SIZES)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_matrices_start_with_the_variance_of_glorot(kind, share):
    torch.manual_seed(3)
    sizes = (8, 40, 60)
    ranks = Ranks(share, share, share).within(FORMS[kind].full(sizes))
    square = torch.stack([FORMS[kind](sizes, ranks).matrices().detach().square().mean() for _ in range(20)]).mean()
    assert square.item() == pytest.approx(2 / 100, rel=0.05)


def test_ranks_are_counts_or_shares():
    full = Ranks(10, 20, 3)
    assert Ranks(0.5, 4, 1.0).within(full) == (5, 4, 3)
    assert Ranks(1, 0.01, 9).within(full) == (1, 1, 3)
    for rank in (0, -1, 0.0, 1.5):
        with pytest.raises(ConfigError, match=r"whole number from 1 or a share in \(0, 1\]"):
            Ranks(rank, 1, 1).within(full)
