"""Gramians that the tests of all solvers share."""

import torch


def jacobian(kind, tasks, seed=0):
    """Task gradients in float64, rows of different length."""
    generator = torch.Generator().manual_seed(1000 * tasks + seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if kind == "conflict":  # lengths from 0.1 to 1, a pull against the mean
        rows = normal(tasks, 2 * tasks + 1)
        return (rows - 0.8 * rows.mean(0)) * torch.linspace(0.1, 1.0, tasks, dtype=torch.float64).unsqueeze(-1)
    if kind == "aligned":
        return normal(tasks, 2 * tasks) + 0.5
    if kind == "dependent":  # rank below k, and all of one half space
        return normal(tasks, max(2, tasks // 3)) + 1.0
    if kind == "stationary":  # rank below k, mostly with 0 inside the convex hull
        return normal(tasks, max(2, tasks // 3))
    if kind == "ill":  # condition of the Gramian 1e12
        left, right = (torch.linalg.qr(normal(tasks, tasks))[0] for _ in range(2))
        return left * torch.logspace(0, -6, tasks, dtype=torch.float64) @ right
    if kind == "lengths":  # independent, lengths from 1 to 1e-8
        return normal(tasks, 2 * tasks) * torch.logspace(0, -8, tasks, dtype=torch.float64).unsqueeze(-1)
    raise ValueError(kind)


def gramian(kind, tasks, seed=0):
    rows = jacobian(kind, tasks, seed)
    return rows @ rows.mT


KINDS = ("conflict", "aligned", "dependent", "stationary", "ill", "lengths")
SIZES = (2, 3, 8, 32, 128)


def orders(tasks, seed=0):
    """A random permutation in each row."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(tasks, generator=generator) for _ in range(tasks)])
