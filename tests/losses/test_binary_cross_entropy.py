import math

import numpy as np
import torch
from sklearn.metrics import log_loss as reference

from polytask.losses import binary_cross_entropy


def test_equals_scikit_learn_and_its_formula():
    output, label = torch.tensor([[0.3], [-2.0], [1.5]], dtype=torch.float64), torch.tensor([1.0, 0.0, 0.0])
    found = binary_cross_entropy(output, label)
    probability = output.sigmoid().squeeze(1)
    torch.testing.assert_close(found, -torch.log(torch.where(label == 1, probability, 1 - probability)))
    assert math.isclose(found.mean().item(), reference(label.numpy(), probability.numpy()))


def test_is_finite_and_linear_where_the_probability_rounds_to_one():
    found = binary_cross_entropy(torch.tensor([[1000.0], [-1000.0], [1000.0]]), torch.tensor([0.0, 1.0, 1.0]))
    assert found.tolist() == [1000.0, 1000.0, 0.0]


def test_gradient_is_probability_minus_label():
    output = torch.tensor([[0.7], [-0.2]], dtype=torch.float64, requires_grad=True)
    label = torch.tensor([1.0, 0.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad(binary_cross_entropy(output, label).sum(), output)
    np.testing.assert_allclose(slope[:, 0], output.detach().sigmoid()[:, 0] - label, rtol=1e-12)
    assert torch.autograd.gradcheck(lambda x: binary_cross_entropy(x, label), output)
