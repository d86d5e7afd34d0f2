"""TensorNormal: the density against dense Kronecker products, and covariances that are found again."""

import math

import numpy as np
import pytest
import torch

from polytask.sharing._tensor_normal import TensorNormal

SIZES = (3, 4, 2)


def covariance(size, seed, trace=None):
    root = np.random.default_rng(seed).normal(size=(size, size)) + np.eye(size)
    found = root @ root.T + 0.1 * np.eye(size)
    return found * (1 if trace is None else trace / np.trace(found))


def holding(covariances, floor=0.01):
    prior = TensorNormal([len(one) for one in covariances], floor=floor).double()
    for mode, one in enumerate(covariances):
        whitener = np.linalg.inv(np.linalg.cholesky(one))
        prior.get_buffer(f"whitener_{mode}").copy_(torch.from_numpy(whitener))
    return prior


def test_penalty_is_the_dense_formula():
    covariances = [covariance(size, seed) for seed, size in enumerate(SIZES)]
    prior = holding(covariances)
    weight = np.random.default_rng(9).normal(size=SIZES)
    whole = np.kron(np.kron(covariances[0], covariances[1]), covariances[2])
    flat = weight.reshape(-1)
    logs = sum(flat.size / len(one) * np.log(np.linalg.det(one)) for one in covariances)
    assert logs == pytest.approx(np.linalg.slogdet(whole)[1])
    expected = (flat @ np.linalg.inv(whole) @ flat + logs) / 2
    assert prior(torch.from_numpy(weight)).item() == pytest.approx(expected, rel=1e-12)
    for mode, one in enumerate(covariances):
        np.testing.assert_allclose(prior.covariance(mode).numpy(), one, rtol=1e-10)


def test_gradient_is_the_precision_times_the_weights():
    covariances = [covariance(size, seed) for seed, size in enumerate(SIZES)]
    prior = holding(covariances)
    weight = torch.randn(SIZES, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(prior, (weight,))
    precision = np.linalg.inv(np.kron(np.kron(covariances[0], covariances[1]), covariances[2]))
    (gradient,) = torch.autograd.grad(prior(weight), weight)
    np.testing.assert_allclose(gradient.flatten().numpy(), precision @ weight.detach().flatten().numpy(), rtol=1e-8)


def test_one_update_is_the_dense_flip_flop():
    """`S_m <- (D_m / D) W_(m) (x_{j != m} S_j)^-1 W_(m)'`, brought to its trace and floor, each with those before it."""
    floor, covariances = 0.05, [covariance(size, seed, trace=size) for seed, size in enumerate(SIZES)]
    prior = holding(covariances, floor)
    weight = np.random.default_rng(9).normal(size=SIZES)
    prior.update(torch.from_numpy(weight))
    for mode, size in enumerate(SIZES):
        rows = np.moveaxis(weight, mode, 0).reshape(size, -1)
        first, second = (one for j, one in enumerate(covariances) if j != mode)
        estimate = size / weight.size * rows @ np.linalg.inv(np.kron(first, second)) @ rows.T
        covariances[mode] = (1 - floor) * estimate * size / np.trace(estimate) + floor * np.eye(size)
        np.testing.assert_allclose(prior.covariance(mode).numpy(), covariances[mode], rtol=1e-9)


def sampled(covariances, seed):
    weight = np.random.default_rng(seed).normal(size=[len(one) for one in covariances])
    for mode, one in enumerate(covariances):
        weight = np.moveaxis(np.tensordot(np.linalg.cholesky(one), weight, (1, mode)), 0, mode)
    return torch.from_numpy(weight)


def test_planted_covariances_are_found_in_every_mode():
    """Tasks alike, opposed and unrelated, under strong covariances of outputs and inputs that blur plain correlation."""
    tasks = np.array([[1.0, 0.8, -0.6, 0.0], [0.8, 1.0, -0.5, 0.0], [-0.6, -0.5, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    place = np.arange(30)
    chain = 0.9 ** np.abs(place[:, None] - place)
    uneven = np.diag(np.geomspace(0.02, 10, 40))
    weight = sampled([tasks, chain, uneven], seed=4)
    prior = TensorNormal(weight.shape, floor=1e-3).double()
    for _ in range(10):
        prior.update(weight)
    np.testing.assert_allclose(prior.covariance(0).numpy(), tasks, atol=0.1)
    outputs = prior.covariance(1).numpy()
    np.testing.assert_allclose(outputs / outputs[0, 0], chain, atol=0.35)
    inputs = prior.covariance(2).diagonal().log().numpy()
    assert np.corrcoef(inputs, np.log(np.diag(uneven)))[0, 1] > 0.98
    plain = np.abs(np.corrcoef(weight.flatten(1).numpy()) - tasks).max()
    assert np.abs(prior.covariance(0).numpy() - tasks).max() < plain / 2


def test_the_fixed_point_is_the_most_likely():
    """At weights whose scale is that of the prior, no covariance near the last update makes them likelier: signs and factors."""
    weight = sampled([covariance(size, seed) for seed, size in enumerate((3, 5, 4))], seed=1)
    prior = TensorNormal(weight.shape, floor=1e-9).double()
    for _ in range(60):
        prior.update(weight)
    weight = weight * math.sqrt(weight.numel() / (2 * (prior(weight) - prior(torch.zeros_like(weight))).item()))
    best = prior(weight).item()
    covariances = [prior.covariance(mode).numpy() for mode in range(3)]
    for mode in range(3):
        for seed in range(10):
            change = np.random.default_rng(seed).normal(size=covariances[mode].shape)
            for size in (0.03, -0.03):
                moved = [one.copy() for one in covariances]
                moved[mode] += size * (change + change.T) / 2 * np.linalg.eigvalsh(covariances[mode])[0]
                assert holding(moved)(weight).item() > best


def test_traces_and_floor():
    prior = TensorNormal((5, 6), floor=0.02).double()
    prior.update(torch.ones(5, 6, dtype=torch.float64))  # of rank one: no estimate is invertible
    for mode, size in enumerate((5, 6)):
        values = torch.linalg.eigvalsh(prior.covariance(mode))
        assert values.sum().item() == pytest.approx(size)
        assert values[0].item() == pytest.approx(0.02)
    prior.update(torch.zeros(5, 6, dtype=torch.float64))
    assert torch.isfinite(prior(torch.ones(5, 6, dtype=torch.float64)))
