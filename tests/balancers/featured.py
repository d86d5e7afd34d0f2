"""Weights of a method that keeps gradients, straight from Jacobians; and noisy gradients whose mean is known."""

import torch

from polytask.balancers.measures import Measured

NAMES = tuple("abcdefgh")


def step(balancer, rows, losses=None, names=None, *, finite=None):
    """Weights of tasks whose gradients are the rows; `finite` as on a device, where it cannot be looked at."""
    rows = torch.as_tensor(rows, dtype=torch.float64)
    losses = torch.ones(len(rows)) if losses is None else torch.as_tensor(losses)
    measured = Measured(rows @ rows.T, [rows[:, :2], rows[:, 2:]], None, (3, 7), finite)
    return balancer.weigh(measured, losses.double(), tuple(names or balancer.tasks))


class Noisy:
    """Gradients of three tasks with known means; the noise of the first is the greatest, that of the last is small.

    The mean gradients are nearest to zero at weights 2/3, 1/3 and 0: `2 a + b` is at right angles to `a - b`, and c lies
    on its far side. One batch's Gramian has the noise on its diagonal and leads to other weights.
    """

    means = torch.tensor([[2.0, 0.0, 0, 0, 0, 0], [-1.0, 3.0, 0, 0, 0, 0], [2.0, 2.5, 2.0, 0, 0, 0]], dtype=torch.float64)
    noise = torch.tensor([2.5, 1.0, 0.2], dtype=torch.float64)

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self):
        normal = torch.randn(self.means.shape, generator=self.generator, dtype=torch.float64)
        return self.means + self.noise[:, None] * normal


def mean_weights(balancer, steps, last, draw):
    """Mean weights of the last steps."""
    decided = torch.stack([step(balancer, draw()) for _ in range(steps)])
    return decided[-last:].mean(0)
