import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss

from polytask.losses import pinball

LEVELS = (0.1, 0.5, 0.8)


def test_is_the_mean_over_levels_of_scikit_learn():
    random = np.random.default_rng(0)
    label, output = random.normal(size=50), random.normal(size=(50, 3))
    expected = np.mean([mean_pinball_loss(label, output[:, j], alpha=level) for j, level in enumerate(LEVELS)])
    np.testing.assert_allclose(pinball(torch.tensor(output), torch.tensor(label), LEVELS).mean().item(), expected, rtol=1e-12)


def test_median_is_half_the_absolute_error():
    assert pinball(torch.tensor([[1.0], [1.0]]), torch.tensor([4.0, -1.0]), (0.5,)).tolist() == [1.5, 1.0]


def test_gradient():
    output = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    label = torch.linspace(-1, 1, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: pinball(x, label, LEVELS), output)


def test_refuses_another_number_of_levels():
    with pytest.raises(ValueError, match="3 outputs for 2 levels"):
        pinball(torch.zeros(1, 3), torch.zeros(1), (0.1, 0.9))
