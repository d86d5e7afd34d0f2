import numpy as np
import torch
from sklearn.metrics import mean_poisson_deviance

from polytask.losses import poisson, positive_rate

LABEL = torch.tensor([0.0, 3.0, 7.0], dtype=torch.float64)
OUTPUT = torch.tensor([[0.2], [-1.0], [2.5]], dtype=torch.float64)


def test_is_half_the_deviance_of_scikit_learn():
    deviance = mean_poisson_deviance(LABEL.numpy(), OUTPUT.exp().squeeze(1).numpy())
    np.testing.assert_allclose(poisson(OUTPUT, LABEL).mean().item(), deviance / 2, rtol=1e-12)


def test_differs_from_the_likelihood_by_a_number_of_the_label_only():
    likelihood = -torch.distributions.Poisson(OUTPUT.exp().squeeze(1)).log_prob(LABEL)
    other = -torch.distributions.Poisson((OUTPUT + 1).exp().squeeze(1)).log_prob(LABEL)
    torch.testing.assert_close(poisson(OUTPUT + 1, LABEL) - poisson(OUTPUT, LABEL), other - likelihood)


def test_is_zero_at_the_label_and_positive_beside_it():
    torch.testing.assert_close(poisson(LABEL[1:].log().unsqueeze(1), LABEL[1:]), torch.zeros(2, dtype=torch.float64))
    assert (poisson(LABEL[1:].log().unsqueeze(1) + 0.1, LABEL[1:]) > 0).all()


def test_never_overflows_and_keeps_its_slope():
    output = torch.tensor([[500.0], [1e6], [-1e6]], requires_grad=True)
    loss = poisson(output, torch.tensor([1.0, 0.0, 0.0]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert output.grad is not None
    assert output.grad.isfinite().all()
    assert (output.grad[:2] > 1e8).all()


def test_rate_is_smooth_where_the_straight_line_starts():
    x = torch.tensor([19.999999, 20.0, 20.000001], dtype=torch.float64, requires_grad=True)
    rate = positive_rate(x)
    (slope,) = torch.autograd.grad(rate.sum(), x)
    np.testing.assert_allclose(rate.detach() / np.exp(20.0), 1, rtol=2e-6)
    np.testing.assert_allclose(slope[[0, 2]] / np.exp(20.0), 1, rtol=2e-6)


def test_gradient():
    output = OUTPUT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: poisson(x, LABEL), output)
