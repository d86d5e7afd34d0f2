import math

import numpy as np
import pytest
import torch
from scipy.stats import lognorm

from polytask.losses import SHARPEST, lognormal_sigma, zero_inflated_lognormal

OUTPUT = torch.tensor([[0.4, -0.3, 0.7], [-1.2, 0.5, -2.0], [2.0, 1.1, 3.0]], dtype=torch.float64)
LABEL = torch.tensor([0.0, 0.37, 12.5], dtype=torch.float64)


def likelihood(output, label):
    """By SciPy, row by row."""
    found = []
    for (logit, place, raw), y in zip(output.tolist(), label.tolist(), strict=True):
        chance, sigma = 1 / (1 + math.exp(-logit)), 0.1 + math.log1p(math.exp(raw))
        found.append(math.log(1 - chance) if y == 0 else math.log(chance) + lognorm.logpdf(y, sigma, scale=math.exp(place)))
    return -torch.tensor(found, dtype=torch.float64)


def test_differs_from_the_likelihood_by_a_number_of_the_label_only():
    """A zero has the likelihood itself; an amount lacks `log(0.1) + log(y) + log(2 pi) / 2`."""
    left_out = likelihood(OUTPUT, LABEL) - zero_inflated_lognormal(OUTPUT, LABEL)
    expected = [0.0, *(math.log(SHARPEST * y) + math.log(2 * math.pi) / 2 for y in LABEL[1:].tolist())]
    np.testing.assert_allclose(left_out, expected, atol=1e-12)


def test_gradient_also_beside_zeros():
    output = OUTPUT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: zero_inflated_lognormal(x, LABEL), output)
    (slope,) = torch.autograd.grad(zero_inflated_lognormal(output, LABEL).sum(), output)
    assert (slope[0, 1:] == 0).all()
    assert (slope[1:, 1:] != 0).all()


def test_is_never_negative_and_zero_at_the_sharpest():
    certain = torch.tensor([[60.0, math.log(3.0), -60.0], [-60.0, 5.0, 5.0]], dtype=torch.float64)
    torch.testing.assert_close(zero_inflated_lognormal(certain, torch.tensor([3.0, 0.0])), torch.zeros(2, dtype=torch.float64))
    random = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * 5
    assert (zero_inflated_lognormal(random, torch.arange(1000) / 50) >= 0).all()


@pytest.mark.parametrize("size", [1e4, 1e6])
def test_no_output_overflows(size):
    output = torch.tensor([[size, 0.0, size], [-size, 0.0, -size], [0.0, size, 0.0]], requires_grad=True)
    loss = zero_inflated_lognormal(output, torch.tensor([0.0, 2.0, 1e-30]))
    (slope,) = torch.autograd.grad(loss.sum(), output)
    assert loss.isfinite().all()
    assert slope.isfinite().all()
    assert lognormal_sigma(output[:, 2]).isfinite().all()
